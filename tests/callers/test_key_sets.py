"""Public keys: given, or fetched and kept."""

import json
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from crds.jwks import KeySetError
from dragoman.callers import key_sets
from dragoman.callers.credentials import UnavailableError
from dragoman.callers.json_web_token import JsonWebToken
from dragoman.callers.jwt_rule import JwtRule, JwtRuleError
from dragoman.callers.key_sets import KeySet, RemoteKeySet
from dragoman.callers.token_issuer import ISSUER
from tests.callers.caller_samples import ISSUED_BY, WEB, bearer, claims, signed, token

PUBLIC = {**jwt.algorithms.ECAlgorithm.to_jwk(ISSUED_BY.key.public_key(), as_dict=True), "kid": ISSUED_BY.key_id}
JWKS = json.dumps({"keys": [PUBLIC]})


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"keys": 3}', '{"keys": []}', '{"keys": [7, null, {}]}', "[" * 100_000]
    + [
        json.dumps({"keys": [key]})
        for key in (
            {"kty": "oct", "k": "c2VjcmV0"},
            {**PUBLIC, "use": "enc"},
            {**PUBLIC, "d": "AAAA"},
            {**PUBLIC, "x": "AA"},
            {**PUBLIC, "alg": "ES384"},
            {"kty": "RSA", "n": "AQ", "e": "AQAB" * 2},
        )
    ],
)
def test_sets_without_a_usable_key(text: str) -> None:
    with pytest.raises(KeySetError):
        KeySet.parse(text)


def test_keys_that_are_not_understood_are_passed_over() -> None:
    assert len(KeySet.parse(json.dumps({"keys": [{"kty": "ML-DSA", "kid": "new"}, PUBLIC]})).keys) == 1


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("{", "JWT rule"),
        ('{"issuer": ""}', "issuer"),
        ('{"issuer": "i", "audiences": [], "jwks": "{}"}', "audiences"),
        ('{"issuer": "i", "audience": ["a"]}', "audience"),
        ('{"issuer": "http://issuer.example"}', "https"),
        ('{"issuer": "i", "jwks_uri": "file:///etc/passwd"}', "https"),
    ],
)
def test_rules_that_cannot_be_used(rule: str, why: str) -> None:
    with pytest.raises(JwtRuleError, match=why):
        JwtRule.parse(rule)


async def test_a_rule_with_its_keys_inside() -> None:
    rule = JwtRule.parse(json.dumps({"issuer": ISSUER, "audiences": ["istio-ca"], "jwks": JWKS}))
    caller = await JsonWebToken(rule.issuer, rule.audiences, rule.keys(), lambda: "cluster.local").authenticate(
        bearer(token())
    )
    assert caller is not None
    assert caller.identities == (WEB,)


class Issuer:
    """A web server with an OpenID configuration and keys. `answer` is what it says to whoever asks for them."""

    def __init__(self) -> None:
        self.answer: Any = JWKS
        self.status = 200
        self.asked = 0
        self.url = ""

    async def keys(self, request: web.Request) -> web.Response:
        self.asked += 1
        if self.status == 302:
            raise web.HTTPFound("/keys")
        return web.Response(text=self.answer, status=self.status)

    async def configuration(self, request: web.Request) -> web.Response:
        return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/keys"})


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    found = Issuer()
    application = web.Application()
    application.router.add_get("/keys", found.keys)
    application.router.add_get("/.well-known/openid-configuration", found.configuration)
    async with TestServer(application) as server:
        found.url = str(server.make_url("")).rstrip("/")
        yield found


async def test_keys_are_found_by_openid_discovery_and_kept(issuer: Issuer) -> None:
    keys = RemoteKeySet(issuer=issuer.url)
    for _ in range(3):
        (key,) = await keys.find(ISSUED_BY.key_id)
        assert key.key_id == ISSUED_BY.key_id
    assert issuer.asked == 1


async def test_a_new_key_is_fetched_when_a_token_names_it_and_not_more_often(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = RemoteKeySet(uri=f"{issuer.url}/keys")
    await keys.find(ISSUED_BY.key_id)
    for _ in range(5):
        assert await keys.find("invented") == ()
    assert issuer.asked == 1
    monkeypatch.setattr(key_sets, "RETRY_AFTER", -1.0)
    issuer.answer = json.dumps({"keys": [PUBLIC, {**PUBLIC, "kid": "new"}]})
    assert len(await keys.find("new")) == 1


@pytest.mark.parametrize("fault", ["status", "redirect", "nonsense", "large"])
async def test_the_last_good_keys_are_kept(issuer: Issuer, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    keys = RemoteKeySet(uri=f"{issuer.url}/keys")
    await keys.find(ISSUED_BY.key_id)
    monkeypatch.setattr(key_sets, "RETRY_AFTER", -1.0)
    monkeypatch.setattr(key_sets, "REFRESH_AFTER", -1.0)
    issuer.status = {"status": 500, "redirect": 302}.get(fault, 200)
    issuer.answer = {"nonsense": "<html>", "large": " " * (2 << 20) + JWKS}.get(fault, JWKS)
    assert len(await keys.find(ISSUED_BY.key_id)) == 1
    assert issuer.asked >= 2


async def test_without_keys_it_is_not_known_whose_a_token_is() -> None:
    keys = RemoteKeySet(uri="http://127.0.0.1:1/keys")
    verifier = JsonWebToken(ISSUER, ("istio-ca",), keys, lambda: "cluster.local")
    with pytest.raises(UnavailableError, match="cannot be had"):
        await verifier.authenticate(bearer(signed(claims())))
