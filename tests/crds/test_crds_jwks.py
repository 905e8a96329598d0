"""Key sets: what is usable of one, and that equal ones are written equally."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crds import jwks
from tests.support.json_web_keys import signing_key

RSA, P256, P384, P521, ED = (signing_key(name, name).public for name in ("RS256", "ES256", "ES384", "ES512", "EdDSA"))
OCT = {"kty": "oct", "k": "c2VjcmV0c2VjcmV0"}


def number(value: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).rstrip(b"=").decode()


def read(*keys: Any, shared_secrets: bool = False) -> jwks.KeySet:
    return jwks.read(json.dumps({"keys": keys}), shared_secrets=shared_secrets)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"keys": 3}', '"keys"', "[" * 100_000, b"\xff", '{"keys":[NaN]}'])
def test_what_is_no_key_set(text: str | bytes) -> None:
    with pytest.raises(jwks.KeySetError):
        jwks.read(text, shared_secrets=False)


def test_too_many_keys() -> None:
    with pytest.raises(jwks.KeySetError, match="101 keys"):
        read(*[P256] * 101)


@pytest.mark.parametrize("key", [RSA, P256, P384, P521, ED], ids=lambda key: key["kid"])
def test_every_kind_of_public_key(key: dict[str, Any]) -> None:
    found = read({**key, "alg": key["kid"], "use": "sig", "x5c": ["MII"], "key_ops": ["verify"], "ext": True})
    assert found.text is not None
    (kept,) = json.loads(found.text)["keys"]
    assert kept == {**{k: v for k, v in key.items() if k != "key_ops"}, "alg": key["kid"]}


UNUSABLE = {
    "not an object": (3, "not an object"),
    "for encryption": ({**RSA, "use": "enc"}, "use"),
    "unknown kind": ({"kty": "ML-DSA"}, "ML-DSA"),
    "no kind": ({}, "None"),
    "kind of another type": ({"kty": ["RSA"]}, "kty"),
    "shared secret": (OCT, "shared secret"),
    "private": ({**P256, "d": "AAAA"}, "private half"),
    "algorithm of another kind": ({**RSA, "alg": "ES256"}, "alg"),
    "algorithm of another curve": ({**P256, "alg": "ES384"}, "alg"),
    "algorithm of another type": ({**RSA, "alg": ["RS256"]}, "alg"),
    "algorithm for encryption": ({**RSA, "alg": "RSA-OAEP"}, "alg"),
    "curve that Envoy does not know": ({**P256, "crv": "secp256k1"}, "secp256k1"),
    "curve of another type": ({**P256, "crv": []}, "curve"),
    "off the curve": ({**P256, "x": P256["y"], "y": P256["x"]}, "point"),
    "Ed448": ({**ED, "crv": "Ed448"}, "Ed448"),
    "short point": ({**ED, "x": "AAAA"}, "point"),
    "no modulus": ({k: v for k, v in RSA.items() if k != "n"}, "n is missing"),
    "base64 of another alphabet": ({**RSA, "n": "+/" * 100}, "base64url"),
    "half a byte": ({**RSA, "n": "A" * 345}, "base64url"),
    "short modulus": ({**RSA, "n": number((1 << 512) - 1)}, "512 bits"),
    "long modulus": ({**RSA, "n": number((1 << 16384) - 1)}, "16384 bits"),
    "even modulus": ({**RSA, "n": number((1 << 2048) - 2)}, "RSA"),
    "even exponent": ({**RSA, "e": number(65536)}, "RSA"),
    "exponent of one": ({**RSA, "e": "AQ"}, "RSA"),
    "long exponent": ({**RSA, "e": number((1 << 40) + 1)}, "RSA"),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_keys_that_verify_nothing_are_passed_over(what: str) -> None:
    key, why = UNUSABLE[what]
    found = read(key, P384)
    assert [index for index, _ in found.passed_over] == [0]
    assert why in found.passed_over[0][1]
    assert found.text == read(P384).text
    assert read(key).text is None


def test_operators_may_use_shared_secrets_and_no_private_half_goes_further() -> None:
    found = read(OCT, {**P256, "d": "AAAA"}, shared_secrets=True)
    assert found.text is not None
    assert {key["kty"] for key in json.loads(found.text)["keys"]} == {"oct", "EC"}
    assert '"d"' not in found.text


def test_a_shared_secret_signs_with_hmac_only() -> None:
    assert read({**OCT, "alg": "RS256"}, shared_secrets=True).text is None


@given(
    order=st.permutations([RSA, P256, P384, P521, ED]),
    members=st.dictionaries(st.sampled_from(["x5t", "x5c", "key_ops", "nbf", "comment"]), st.text() | st.none()),
    again=st.integers(0, 4),
)
def test_the_same_keys_are_written_the_same(order: list[dict[str, Any]], members: dict[str, Any], again: int) -> None:
    found = read(*({**key, **members} for key in (*order, order[again])))
    assert found == read(RSA, P256, P384, P521, ED)
    assert found.text is not None
    assert jwks.read(found.text, shared_secrets=False).text == found.text


def test_numbers_are_written_in_one_way() -> None:
    modulus = int.from_bytes(base64.urlsafe_b64decode(RSA["n"] + "=="), "big")
    longer = base64.urlsafe_b64encode(b"\0\0" + modulus.to_bytes(256, "big")).decode()
    assert read({**RSA, "n": longer, "e": "AAEAAQ"}) == read(RSA)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
MEMBER = st.sampled_from(["kty", "crv", "n", "e", "x", "y", "k", "d", "alg", "use", "kid"])
VALUE = JSON | st.sampled_from(["RSA", "EC", "OKP", "oct", "P-256", "Ed25519", "sig", "AQAB", "ES256", RSA["n"]])


@given(st.lists(st.dictionaries(MEMBER, VALUE, max_size=7) | JSON, max_size=5), st.booleans())
def test_whatever_is_written_is_read_or_refused(keys: list[Any], secrets: bool) -> None:
    found = jwks.read(json.dumps({"keys": keys}), shared_secrets=secrets)
    if found.text is not None:
        assert jwks.read(found.text, shared_secrets=secrets).text == found.text
