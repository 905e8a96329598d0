"""Kubernetes Secrets as SDS secrets: the layouts of their keys, and what never reaches a proxy."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable

import pytest

from crds.kubernetes.secret import Secret
from crds.meta import ObjectMeta
from dragoman.codec import SECRET, to_json
from dragoman.mesh.credentials import sds_name, secret_names
from tests.translators.gateway_certificates import Authority
from translators.credentials import CredentialError, credential_secret

CA = Authority()
PAIR = CA.issue("a.org")
OTHER = CA.issue("b.org")


def secrets(**found: dict[str, bytes]) -> Callable[[str], Secret | None]:
    """What a namespace holds, by name; `_` in a name stands for `-`."""
    held = {
        name.replace("_", "-"): Secret(metadata=ObjectMeta(name=name.replace("_", "-"), namespace="edge"), data=data)
        for name, data in found.items()
    }
    return held.get


def content(name: str, find: Callable[[str], Secret | None]) -> str:
    encoded = credential_secret(name, find)
    assert encoded is not None
    assert encoded.name == name
    return str(to_json(SECRET, encoded.payload))


def base64(value: bytes) -> str:
    return b64encode(value).decode()


@pytest.mark.parametrize(("certificate", "key"), [("tls.crt", "tls.key"), ("cert", "key")])
def test_both_layouts_of_a_certificate(certificate: str, key: str) -> None:
    found = content("kubernetes://a", secrets(a={certificate: PAIR.certificate, key: PAIR.key}))
    assert base64(PAIR.certificate) in found
    assert base64(PAIR.key) in found


@pytest.mark.parametrize("key", ["ca.crt", "cacert"])
def test_an_authority_in_a_secret_of_its_own_or_beside_the_certificate(key: str) -> None:
    own = content("kubernetes://a-cacert", secrets(a_cacert={key: CA.pem}, a={key: PAIR.certificate}))
    assert base64(CA.pem) in own
    beside = content("kubernetes://a-cacert", secrets(a={key: CA.pem, "tls.key": PAIR.key}))
    assert base64(CA.pem) in beside
    assert base64(PAIR.key) not in beside


def test_revoked_certificates_and_stapled_status_go_along() -> None:
    assert base64(b"list") in content("kubernetes://a-cacert", secrets(a={"ca.crt": CA.pem, "ca.crl": b"list"}))
    pair = {"tls.crt": PAIR.certificate, "tls.key": PAIR.key, "tls.ocsp-staple": b"good"}
    assert base64(b"good") in content("kubernetes://a", secrets(a=pair))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({}, "lacks tls.crt"),
        ({"tls.crt": PAIR.certificate}, "lacks tls.crt and tls.key"),
        ({"tls.crt": b"no certificate", "tls.key": PAIR.key}, "no PEM certificate"),
        ({"tls.crt": PAIR.certificate, "tls.key": b"no key"}, "no unencrypted PEM private key"),
        ({"tls.crt": PAIR.certificate, "tls.key": OTHER.key}, "does not belong"),
    ],
)
def test_what_envoy_would_reject_is_an_error_that_names_the_secret(data: dict[str, bytes], reason: str) -> None:
    with pytest.raises(CredentialError, match=f"Secret edge/a.*{reason}") as raised:
        credential_secret("kubernetes://a", secrets(a=data))
    assert "PRIVATE KEY" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("data", [{"tls.crt": PAIR.certificate}, {"ca.crt": b"no certificate"}])
def test_an_authority_that_is_none(data: dict[str, bytes]) -> None:
    with pytest.raises(CredentialError, match="Secret edge/a"):
        credential_secret("kubernetes://a-cacert", secrets(a=data))


def test_a_secret_that_does_not_exist_is_no_error() -> None:
    assert credential_secret("kubernetes://a", secrets()) is None
    assert credential_secret("kubernetes://a-cacert", secrets()) is None


def test_names() -> None:
    assert sds_name("a") == sds_name("kubernetes://a") == "kubernetes://a"
    assert secret_names("kubernetes://a") == ("a",)
    assert secret_names("kubernetes://a-cacert") == ("a-cacert", "a")
