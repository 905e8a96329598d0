"""Tokens: which are believed, and as whom."""

import base64
import json
import time
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from ca.caller import PodBinding
from dragoman.callers.credentials import NotAuthenticatedError
from dragoman.callers.json_web_token import LEEWAY
from tests.callers.caller_samples import ISSUED_BY, POD, WEB, bearer, claims, now, signed, token, verifier


async def test_a_good_token_is_its_pod() -> None:
    caller = await verifier().authenticate(bearer(token()))
    assert caller is not None
    assert caller.identities == (WEB,)
    assert caller.pod == POD
    assert caller.source == "token"
    assert caller.expires_at is not None
    assert timedelta(minutes=59) < caller.expires_at - now() <= timedelta(hours=1) + LEEWAY


async def test_a_token_that_is_bound_to_no_pod_is_its_account() -> None:
    caller = await verifier().authenticate(bearer(token(**{"kubernetes.io": None})))
    assert caller is not None
    assert (caller.identities, caller.pod) == ((WEB,), None)


async def test_one_of_several_audiences_is_enough() -> None:
    assert await verifier("a", "b").authenticate(bearer(token(aud=["c", "b"]))) is not None


async def test_tokens_of_other_issuers_are_left_to_others() -> None:
    assert await verifier().authenticate(bearer(token(iss="https://kubernetes.default.svc"))) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"exp": int(time.time()) - 60}, "expired"),
        ({"nbf": int(time.time()) + 86_400}, "not yet valid"),
        ({"iat": int(time.time()) + 86_400}, "not yet valid"),
        ({"aud": ["vault"]}, "another audience"),
        ({"aud": None}, "aud"),
        ({"exp": None}, "exp"),
        ({"exp": "soon"}, "does not hold"),
        ({"sub": None}, "sub"),
        ({"sub": "alice"}, "not that of a service account"),
        ({"sub": "system:serviceaccount:shop"}, "not that of a service account"),
        ({"sub": "system:serviceaccount:shop:web:x"}, "not that of a service account"),
        ({"sub": "system:serviceaccount:shop:we/b"}, "no service account"),
        ({"sub": "system:serviceaccount:other:web"}, "at odds"),
        ({"kubernetes.io": "x"}, "malformed"),
        ({"kubernetes.io": {"namespace": "shop", "pod": {"name": 7}}}, "names no pod"),
        ({"kubernetes.io": {"namespace": "shop", "pod": "web-1"}}, "names no pod"),
    ],
)
async def test_tokens_that_do_not_hold(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(NotAuthenticatedError, match=why):
        await verifier().authenticate(bearer(token(**changes)))


@pytest.mark.parametrize("exp", [10**30, "9999999999"])
async def test_a_token_for_ever_is_no_crash(exp: object) -> None:
    assert await verifier().authenticate(bearer(token(exp=exp))) is not None


async def test_a_clock_that_is_a_little_off_is_borne() -> None:
    assert await verifier().authenticate(bearer(token(exp=int(time.time()) - 10))) is not None


def unsigned() -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'typ': 'JWT', 'kid': ISSUED_BY.key_id})}.{part(claims())}."


def with_the_public_key_as_a_secret() -> str:
    """The classic confusion of algorithms: an HMAC whose secret everybody knows."""
    secret = ISSUED_BY.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    body = jwt.encode(claims(), b"0" * 64, algorithm="HS256", headers={"kid": ISSUED_BY.key_id}).rpartition(".")[0]
    signature = jwt.algorithms.get_default_algorithms()["HS256"].sign(body.encode(), secret)
    return f"{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def by_another_key() -> str:
    other = ec.generate_private_key(ec.SECP256R1())
    return jwt.encode(claims(), other, algorithm="ES256", headers={"kid": ISSUED_BY.key_id})


def by_a_key_that_it_brings_along() -> str:
    other = ec.generate_private_key(ec.SECP256R1())
    public = jwt.algorithms.ECAlgorithm.to_jwk(other.public_key(), as_dict=True)
    return jwt.encode(claims(), other, algorithm="ES256", headers={"jwk": public})


def by_another_kind_of_key() -> str:
    other = rsa.generate_private_key(65537, 2048)
    return jwt.encode(claims(), other, algorithm="RS256", headers={"kid": ISSUED_BY.key_id})


@pytest.mark.parametrize(
    "forge",
    [
        unsigned,
        with_the_public_key_as_a_secret,
        by_another_key,
        by_a_key_that_it_brings_along,
        by_another_kind_of_key,
        lambda: signed(claims(), kid="unknown"),
        lambda: token()[:-6] + "AAAAAA",
        lambda: "not.a.token",
        lambda: "",
        lambda: "." * 10_000,
        lambda: "eyJhbGciOiJFUzI1NiJ9." + base64.urlsafe_b64encode(b"[" * 5_000).decode() + ".AA",
    ],
)
async def test_forged_tokens(forge: Any) -> None:
    with pytest.raises(NotAuthenticatedError):
        await verifier().authenticate(bearer(forge()))


async def test_a_refusal_does_not_repeat_the_token() -> None:
    bad = token(aud=["vault"])
    with pytest.raises(NotAuthenticatedError) as refusal:
        await verifier().authenticate(bearer(bad))
    assert bad not in str(refusal.value)
    assert bad not in repr(bearer(bad))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)
NAMES = st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "kubernetes.io"]) | st.text(max_size=4)


@given(st.text(max_size=200), st.dictionaries(NAMES, VALUES, max_size=3))
async def test_no_token_makes_it_crash(text: str, payload: dict[str, Any]) -> None:
    for candidate in (text, signed(claims() | payload), f"{text}.{text}.{text}"):
        try:
            caller = await verifier().authenticate(bearer(candidate))
        except NotAuthenticatedError:
            continue
        assert caller is None or caller.identities == (WEB,)


async def test_bindings_are_values() -> None:
    assert PodBinding("shop", "web-1", "u-1", "n1") == POD
