"""What others publish of their roots is read whole, or not at all."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from ca.authority import new_root
from ca.bundle import BundleError, read_spiffe_bundle, spiffe_bundle

ROOT = new_root("a.example", now=datetime.now(UTC))
OURS = spiffe_bundle([ROOT.certificate])
KEY = OURS["keys"][0]


def read(bundle: Any) -> tuple[tuple[x509.Certificate, ...], int | None]:
    return read_spiffe_bundle(json.dumps(bundle).encode())


def of(certificate: x509.Certificate) -> dict[str, Any]:
    return {"use": "x509-svid", "x5c": [base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()]}


def self_signed(key: Any, *, authority: bool | None) -> x509.Certificate:
    name, now = x509.Name([]), datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    if authority is not None:
        builder = builder.add_extension(x509.BasicConstraints(authority, None), critical=True)
    hashed = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, hashed)


def test_what_we_publish_ourselves() -> None:
    assert read(OURS) == ((ROOT.certificate,), 300)


def test_keys_for_other_uses_are_passed_over() -> None:
    others = [{"use": "jwt-svid", "kty": "EC"}, {"kty": "EC"}, {"use": "of tomorrow"}]
    assert read({"keys": [*others, KEY, KEY]}) == ((ROOT.certificate,), None)
    assert read({"keys": [], "spiffe_refresh_hint": -1}) == ((), None)


@pytest.mark.parametrize(
    "bundle",
    [
        pytest.param([], id="a list"),
        pytest.param({}, id="no keys"),
        pytest.param({"keys": {}}, id="keys that are no list"),
        pytest.param({"keys": [KEY, {"use": "x509-svid"}]}, id="no certificate"),
        pytest.param({"keys": [{**KEY, "x5c": KEY["x5c"] * 2}]}, id="two certificates"),
        pytest.param({"keys": [{**KEY, "x5c": ["%%"]}]}, id="no base64"),
        pytest.param({"keys": [{**KEY, "x5c": ["AAAA"]}]}, id="no certificate in it"),
        pytest.param(
            {"keys": [of(self_signed(ed25519.Ed25519PrivateKey.generate(), authority=True))]},
            id="a key unknown to Envoy",
        ),
        pytest.param(
            {"keys": [of(self_signed(ec.generate_private_key(ec.SECP256K1()), authority=True))]}, id="another curve"
        ),
        pytest.param(
            {"keys": [KEY, of(self_signed(ec.generate_private_key(ec.SECP256R1()), authority=False))]}, id="a leaf"
        ),
        pytest.param(
            {"keys": [of(self_signed(ec.generate_private_key(ec.SECP256R1()), authority=None))]},
            id="said to be nothing",
        ),
    ],
)
def test_what_is_refused_as_a_whole(bundle: Any) -> None:
    with pytest.raises(BundleError):
        read(bundle)


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_a_bundle_or_refused(document: bytes) -> None:
    with suppress(BundleError):
        read_spiffe_bundle(document)


def test_depth_is_refused_too() -> None:
    with pytest.raises(BundleError):
        read_spiffe_bundle(b"[" * 100_000)
