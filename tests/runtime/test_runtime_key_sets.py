"""Keys of issuers, from their server into what proxies get."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from dragoman.callers.address_rules import AddressRules
from dragoman.engine import Graph, query
from dragoman.mesh.inputs import JWKS
from dragoman.mesh.request_authentications import KeySource
from dragoman.runtime.key_sets import KeyFetching, UnfetchedKeys
from tests.debug.running_plane import MESH, RunningPlane, running_plane
from tests.support.json_web_keys import key_set, signing_key
from tests.support.until import until

HERE = AddressRules(allowed=(ipaddress.ip_network("127.0.0.0/8"),))

POLICY = """
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: {name}, namespace: shop}}
spec: {{jwtRules: [{rules}]}}
"""


class Issuer:
    """A web server with an OpenID configuration and keys; `answer` is what it says, `asked` counts."""

    def __init__(self) -> None:
        self.answer = key_set(signing_key("old"))
        self.status = 200
        self.location = ""
        self.asked = 0
        self.url = ""
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def keys(self, request: web.Request) -> web.Response:
        self.asked += 1
        await self.may_answer.wait()
        if self.location:
            raise web.HTTPFound(self.location)
        return web.Response(text=self.answer, status=self.status)

    async def configuration(self, request: web.Request) -> web.Response:
        return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/keys"})

    @property
    def uri(self) -> str:
        return f"{self.url}/keys"

    @property
    def source(self) -> KeySource:
        return KeySource(self.uri, discovered=False)


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    found = Issuer()
    application = web.Application()
    application.router.add_get("/keys", found.keys)
    application.router.add_get("/.well-known/openid-configuration", found.configuration)
    async with TestServer(application) as server:
        found.url = str(server.make_url("")).rstrip("/")
        try:
            yield found
        finally:
            found.may_answer.set()


@query
def held(g: Graph, source: KeySource) -> str | None:
    return JWKS(g, source)


def keys(running: RunningPlane, source: KeySource) -> list[str]:
    """The ids of the keys that the engine has of a source."""
    mount = running.plane.graph.mount(held.call(source))
    try:
        (text,) = mount.leaves().values()
    finally:
        mount.close()
    return [] if text is None else [key["kid"] for key in json.loads(text)["keys"]]


def fetching(refresh_after: float = 1200.0, rules: AddressRules = HERE) -> dict[str, Any]:
    return {"key_fetching": KeyFetching(rules, refresh_after)}


def policy(*rules: str, name: str = "jwt") -> str:
    return POLICY.format(name=name, rules=", ".join(rules))


async def test_keys_are_there_before_the_first_proxy_and_are_fetched_once_for_all_rules(
    tmp_path: Path, issuer: Issuer
) -> None:
    by_uri = f"{{issuer: one, jwksUri: '{issuer.uri}'}}"
    by_alias = f"{{issuer: two, jwks_uri: '{issuer.uri}'}}"
    text = MESH + policy(by_uri, by_alias) + policy(by_uri, name="another")
    async with running_plane(tmp_path, text, **fetching()) as running:
        assert keys(running, issuer.source) == ["old"]
        assert issuer.asked == 1
        (shown,) = await running.ask("/debug/jwksz")
        assert shown["jwksUri"] == issuer.uri
        assert shown["keys"] == ["old"]
        assert [line.split(" (")[0] for line in shown["policies"]] == [
            "RequestAuthentication shop/another",
            "RequestAuthentication shop/jwt",
        ]
        assert (shown["failures"], shown["problem"]) == (0, "")
        assert shown["nextFetchInSeconds"] > 1000
        _, metrics, _ = await running.get("/metrics")
        assert "pilot_jwks_resolver_network_fetch_success_total 1.0" in metrics
        assert "pilot_jwks_resolver_network_fetch_fail_total 0.0" in metrics


async def test_without_a_uri_the_issuer_says_where_its_keys_are(tmp_path: Path, issuer: Issuer) -> None:
    async with running_plane(tmp_path, MESH + policy(f"{{issuer: '{issuer.url}/'}}"), **fetching()) as running:
        assert keys(running, KeySource(f"{issuer.url}/", discovered=True)) == ["old"]
        (shown,) = await running.ask("/debug/jwksz")
        assert shown["issuer"] == f"{issuer.url}/"


async def test_keys_rotate(tmp_path: Path, issuer: Issuer) -> None:
    text = MESH + policy(f"{{issuer: i, jwksUri: '{issuer.uri}'}}")
    async with running_plane(tmp_path, text, **fetching(refresh_after=0.05)) as running:
        before = running.plane.graph.statistics().transactions
        asked = issuer.asked

        async def asked_again() -> bool:
            return issuer.asked >= asked + 3

        await until(asked_again)
        assert running.plane.graph.statistics().transactions == before, "the same keys are no change"
        issuer.answer = key_set(signing_key("new"), signing_key("old"))

        async def rotated() -> bool:
            return sorted(keys(running, issuer.source)) == ["new", "old"]

        await until(rotated)


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "error": ({"status": 503}, "answers 503"),
    "HTML": ({"answer": "<html>"}, "no JSON Web Key Set"),
    "no keys": ({"answer": '{"keys": []}'}, "no key that verifies"),
    "shared secret": ({"answer": '{"keys": [{"kty": "oct", "k": "AAAA"}]}'}, "no key that verifies"),
    "too long": ({"answer": " " * (2 << 20)}, "longer than"),
    "loop": ({"location": "/keys"}, "too many redirects"),
    "metadata": ({"location": "http://169.254.169.254/latest"}, "link-local"),
    "file": ({"location": "file:///etc/passwd"}, "no https"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_the_server_does_the_last_good_keys_stay_and_it_is_told(
    tmp_path: Path, issuer: Issuer, fault: str
) -> None:
    changes, why = FAULTS[fault]
    told: list[UnfetchedKeys] = []
    text = MESH + policy(f"{{issuer: i, jwksUri: '{issuer.uri}'}}")
    async with running_plane(tmp_path, text, **fetching(refresh_after=0.05), on_unfetched_keys=told.append) as running:
        for name, value in changes.items():
            setattr(issuer, name, value)

        async def failed_twice() -> bool:
            (shown,) = await running.ask("/debug/jwksz")
            return bool(shown["failures"] >= 2)

        await until(failed_twice)
        (shown,) = await running.ask("/debug/jwksz")
        assert why in shown["problem"]
        assert shown["keys"] == keys(running, issuer.source) == ["old"]
        (problem,) = told
        assert why in problem.problem
        assert problem.kept
        assert str(problem.policies[0]).startswith("RequestAuthentication shop/jwt (")
        issuer.status, issuer.location, issuer.answer = 200, "", key_set(signing_key("new"))

        async def good_again() -> bool:
            return keys(running, issuer.source) == ["new"]

        await until(good_again)


async def test_an_issuer_that_does_not_answer_holds_nothing_up(tmp_path: Path, issuer: Issuer) -> None:
    issuer.may_answer.clear()
    told: list[UnfetchedKeys] = []
    text = MESH + policy(f"{{issuer: i, jwksUri: '{issuer.uri}', timeout: 0.1s}}")
    async with running_plane(tmp_path, text, **fetching(), on_unfetched_keys=told.append) as running:
        assert running.plane.ready
        assert keys(running, issuer.source) == []
        assert [(problem.kept, "no answer within 0.1 s" in problem.problem) for problem in told] == [(False, True)]
        issuer.may_answer.set()

        async def there() -> bool:
            return keys(running, issuer.source) == ["old"]

        await until(there)


async def test_nothing_is_fetched_from_this_machine_unless_that_is_allowed(tmp_path: Path, issuer: Issuer) -> None:
    text = MESH + policy(f"{{issuer: i, jwksUri: '{issuer.uri}'}}")
    async with running_plane(tmp_path, text, **fetching(rules=AddressRules())) as running:
        (shown,) = await running.ask("/debug/jwksz")
        assert "127.0.0.1 is a loopback address" in shown["problem"]
        assert issuer.asked == 0
        _, metrics, _ = await running.get("/metrics")
        assert "pilot_jwks_resolver_network_fetch_fail_total 1.0" in metrics


async def test_a_policy_that_appears_later(tmp_path: Path, issuer: Issuer) -> None:
    async with running_plane(tmp_path, MESH, **fetching()) as running:
        (tmp_path / "jwt.yaml").write_text(policy(f"{{issuer: i, jwksUri: '{issuer.uri}'}}"))

        async def there() -> bool:
            return keys(running, issuer.source) == ["old"]

        await until(there)
        (tmp_path / "jwt.yaml").unlink()

        async def unused() -> bool:
            (state,) = running.plane.key_sets.states.values()
            return state.unwanted_since is not None

        await until(unused)
        assert keys(running, issuer.source) == ["old"], "it may be back in a moment"


async def test_nobody_waits_at_a_restart_for_keys_that_were_kept(tmp_path: Path, issuer: Issuer) -> None:
    folder = tmp_path / "mesh"
    folder.mkdir()
    options: dict[str, Any] = {"key_fetching": KeyFetching(HERE, kept_in=tmp_path / "key-sets.json")}
    text = MESH + policy(f"{{issuer: i, jwksUri: '{issuer.uri}', timeout: 20s}}")
    async with running_plane(folder, text, **options):
        pass
    issuer.may_answer.clear()
    async with running_plane(folder, text, **options) as running:
        assert keys(running, issuer.source) == ["old"]
        (state,) = running.plane.key_sets.states.values()
        assert state.fetching, "it is asked, but not waited for"


async def test_an_issuer_that_is_down_at_a_restart_keeps_its_tokens(tmp_path: Path, issuer: Issuer) -> None:
    folder = tmp_path / "mesh"
    folder.mkdir()
    options: dict[str, Any] = {"key_fetching": KeyFetching(HERE, kept_in=tmp_path / "key-sets.json")}
    text = MESH + policy(f"{{issuer: i, jwksUri: '{issuer.uri}'}}")
    async with running_plane(folder, text, **options):
        pass
    issuer.status = 503
    told: list[UnfetchedKeys] = []
    async with running_plane(folder, text, **options, on_unfetched_keys=told.append) as running:
        assert keys(running, issuer.source) == ["old"]

        async def it_is_told() -> bool:
            return [problem.kept for problem in told] == [True]

        await until(it_is_told)
        assert keys(running, issuer.source) == ["old"]
        issuer.status, issuer.answer = 200, key_set(signing_key("new"))

        async def renewed() -> bool:
            return keys(running, issuer.source) == ["new"]

        await until(renewed)
