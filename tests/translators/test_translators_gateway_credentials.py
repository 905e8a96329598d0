"""Kubernetes Secrets as SDS secrets: the layouts of their keys, and what never reaches a proxy."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from crds.kubernetes.configmap import ConfigMap
from crds.kubernetes.secret import Secret
from crds.meta import ObjectKey, ObjectMeta
from dragoman.codec import SECRET, to_json
from tests.translators.gateway_certificates import Authority
from translators.credentials import Credential, CredentialError, credential

CA = Authority()
PAIR = CA.issue("a.org")
OTHER = CA.issue("b.org")
WEAK = CA.issue("c.org", rsa_bits=1024)


Find = Callable[[ObjectKey], object]


def secrets(**found: dict[str, bytes]) -> Find:
    """What namespace `edge` holds, by name; `_` in a name stands for `-`."""
    names = {name.replace("_", "-"): data for name, data in found.items()}
    held = {
        ObjectKey("Secret", "edge", name): Secret(metadata=ObjectMeta(name=name, namespace="edge"), data=data)
        for name, data in names.items()
    }
    return held.get


def of(name: str, find: Find) -> Credential:
    found = credential(name, "edge", find)
    assert found is not None
    assert found.secret.name == name
    return found


def content(name: str, find: Find) -> str:
    return str(to_json(SECRET, of(name, find).secret.payload))


def base64(value: bytes) -> str:
    return b64encode(value).decode()


def revoking(*serials: int, by: Authority = CA, days: float = 1) -> bytes:
    return by.revoke(*serials, days=days)


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


@pytest.mark.parametrize("data", ["crl", "ca.crl"])
def test_revocation_lists_go_along(data: str) -> None:
    crl = revoking(1)
    found = of("kubernetes://a-cacert", secrets(a={"ca.crt": CA.pem, data: crl}))
    assert base64(crl) in str(to_json(SECRET, found.secret.payload))
    assert found.revocation is not None
    assert found.revocation.data == data
    assert found.revocation.missing == ()


def test_an_authority_of_the_bundle_without_a_list_is_known() -> None:
    other = Authority("other")
    both = of("kubernetes://a-cacert", secrets(a={"ca.crt": CA.pem + other.pem, "ca.crl": revoking()}))
    assert both.revocation is not None
    assert both.revocation.missing == ("CN=other",)
    lists = revoking() + revoking(by=other)
    whole = of("kubernetes://a-cacert", secrets(a={"ca.crt": CA.pem + other.pem, "ca.crl": lists}))
    assert whole.revocation is not None
    assert whole.revocation.missing == ()


def test_a_stapled_status_goes_along() -> None:
    staple = CA.staple(PAIR)
    pair = {"tls.crt": PAIR.certificate, "tls.key": PAIR.key, "tls.ocsp-staple": staple}
    assert base64(staple) in content("kubernetes://a", secrets(a=pair))


def test_of_a_bundle_the_last_root_decides_and_of_a_chain_the_first_certificate_to_end() -> None:
    old = Authority("old", ends=timedelta(hours=-1))
    now = datetime.now(UTC)
    assert of("kubernetes://a-cacert", secrets(a={"ca.crt": old.pem + CA.pem})).valid_at(now)
    assert not of("kubernetes://a-cacert", secrets(a={"ca.crt": old.pem})).valid_at(now)
    chain = {"tls.crt": PAIR.certificate + old.pem, "tls.key": PAIR.key}
    assert not of("kubernetes://a", secrets(a=chain)).valid_at(now)


TLS = {"tls.crt": PAIR.certificate, "tls.key": PAIR.key}


@pytest.mark.parametrize(
    ("data", "at", "reason"),
    [
        ({}, "", "lacks tls.crt"),
        ({"tls.crt": PAIR.certificate}, "", "lacks tls.crt and tls.key"),
        ({"tls.crt": PAIR.certificate, "key": PAIR.key}, "", "lacks tls.crt and tls.key"),
        ({"tls.crt": b"no certificate", "tls.key": PAIR.key}, "tls.crt", "no PEM certificate"),
        ({"tls.crt": PAIR.certificate, "tls.key": b"no key"}, "tls.key", "no unencrypted PEM private key"),
        ({"tls.crt": PAIR.certificate, "tls.key": OTHER.key}, "tls.key", "does not belong"),
        ({"cert": PAIR.certificate, "key": OTHER.key}, "key", "does not belong"),
        ({"tls.crt": CA.pem + PAIR.certificate, "tls.key": PAIR.key}, "tls.crt", "not the first of the chain"),
        ({"tls.crt": WEAK.certificate, "tls.key": WEAK.key}, "tls.key", "1024 bits"),
        ({**TLS, "tls.ocsp-staple": b"good"}, "tls.ocsp-staple", "no OCSP response"),
        ({**TLS, "tls.ocsp-staple": CA.staple(OTHER)}, "tls.ocsp-staple", "not for this one certificate"),
    ],
)
def test_what_envoy_would_reject_is_an_error_at_the_key_of_the_data(
    data: dict[str, bytes], at: str, reason: str
) -> None:
    with pytest.raises(CredentialError, match=reason) as raised:
        credential("kubernetes://a", "edge", secrets(a=data))
    assert raised.value.held_by == ObjectKey("Secret", "edge", "a")
    assert raised.value.data == at
    assert "PRIVATE KEY" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    ("data", "at"),
    [
        ({"tls.crt": PAIR.certificate}, ""),
        ({"ca.crt": b"no certificate"}, "ca.crt"),
        ({"ca.crt": CA.pem, "ca.crl": b"no list"}, "ca.crl"),
    ],
)
def test_an_authority_that_is_none(data: dict[str, bytes], at: str) -> None:
    with pytest.raises(CredentialError) as raised:
        credential("kubernetes://a-cacert", "edge", secrets(a=data))
    assert raised.value.data == at


def test_an_authority_may_be_public_in_a_config_map_and_a_key_may_not() -> None:
    found = ConfigMap(metadata=ObjectMeta(name="roots", namespace="shared"), data={"ca.crt": CA.pem.decode()})
    held: dict[ObjectKey, object] = {found.key: found}
    assert base64(CA.pem) in content("configmap://shared/roots-cacert", held.get)
    with pytest.raises(CredentialError, match="no private keys"):
        credential("configmap://shared/roots", "edge", held.get)


def test_an_object_that_does_not_exist_is_no_error() -> None:
    assert credential("kubernetes://a", "edge", secrets()) is None
    assert credential("kubernetes://a-cacert", "edge", secrets()) is None
    assert credential("vault://a", "edge", secrets(a=TLS)) is None
