"""Whose tokens are taken: RequestAuthentication at sidecars and gateways, with real tokens and real key servers."""

import base64
import hashlib
import hmac
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from dragoman.mesh.proxy_id import ProxyType
from e2e.harness import Answer, Command, EchoApp, Mesh, Pod, eventually, served_mesh
from e2e.harness.sidecars import sidecars
from tests.support.json_web_keys import key_set, signing_key

pytestmark = [
    pytest.mark.netns,
    pytest.mark.envoy,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("settled"),
]

URL = "http://server.default:8080/"
ISSUER, OTHER = "https://login.example.org", "https://other.example.org"
KEY, OTHER_KEY = signing_key("a"), signing_key("b", "RS256")
STRANGERS_KEY = replace(signing_key("stranger"), key_id="a")


@dataclass(frozen=True, slots=True)
class Cast:
    """A server with a sidecar, a gateway in front of it, and a client of both that is not of the mesh; `documents` are
    what the web server of an issuer at `issuer` has."""

    mesh: Mesh
    client: Pod
    gateway: Pod
    documents: Path
    issuer: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_mesh() -> AsyncIterator[Mesh]:
    async with served_mesh("--jwks-refresh-interval", "1s", "--jwks-fetched-by", "hybrid") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cast(shared_mesh: Mesh) -> AsyncIterator[Cast]:
    documents = shared_mesh.directory / "issuer"
    (documents / ".well-known").mkdir(parents=True)
    web_server = Command((sys.executable, "-m", "http.server", "--directory", str(documents), "8000"), ports=(8000,))
    assert shared_mesh.control_plane is not None
    gateways = sidecars(shared_mesh.control_plane.socket, kind=ProxyType.ROUTER)
    await shared_mesh.service("server", {"http": 8080})
    await shared_mesh.service("special", {"http": 8080})
    await shared_mesh.service("issuer", {"http": 8000})
    async with (
        shared_mesh.pod("server", app=EchoApp(http=(8080,)), sidecar=True),
        shared_mesh.pod("special", app=EchoApp(http=(8080,)), sidecar=True),
        shared_mesh.pod("client") as client,
        shared_mesh.pod("issuer", app=web_server) as issuer,
        shared_mesh.pod("gateway", sidecar=gateways, captured=False, wait=False) as gateway,
    ):
        yield Cast(shared_mesh, client, gateway, documents, f"http://{issuer.spec.address}:8000")


def authentication(*rules: dict[str, Any], name: str = "jwt", app: str = "server", namespace: str = "default") -> str:
    selector = {"matchLabels": {"app": app}} if app else None
    return json.dumps(
        {
            "apiVersion": "security.istio.io/v1",
            "kind": "RequestAuthentication",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"jwtRules": rules, **({"selector": selector} if selector else {})},
        }
    )


def rule(issuer: str = ISSUER, **fields: Any) -> dict[str, Any]:
    keys = key_set(KEY if issuer == ISSUER else OTHER_KEY)
    return {"issuer": issuer, **({} if "jwksUri" in fields else {"jwks": keys}), **fields}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


GOOD, OTHERS = bearer(KEY.token(ISSUER)), bearer(OTHER_KEY.token(OTHER))
NO_TOKEN = bearer("this.is.no-token")


async def answer(cast: Cast, headers: dict[str, str] | None = None, path: str = "", **request: Any) -> Answer:
    return await cast.client.http(URL + path, headers=headers, **request)


async def status(cast: Cast, headers: dict[str, str] | None = None, path: str = "", **request: Any) -> int:
    return (await answer(cast, headers, path, **request)).status


async def statuses(cast: Cast, requests: dict[str, dict[str, str]]) -> dict[str, int]:
    return {name: await status(cast, headers) for name, headers in requests.items()}


async def in_force(cast: Cast, headers: dict[str, str] | None = None) -> None:
    """Wait until tokens are looked at: what is none is refused."""
    await eventually(lambda: status(cast, headers or NO_TOKEN), lambda seen: seen == 401)


# Tokens.


async def problem(cast: Cast, uri: str) -> str:
    """What is wrong with the keys that the control plane fetches from there."""
    assert cast.mesh.control_plane is not None
    shown = await cast.mesh.control_plane.debug("/debug/jwksz")
    return "".join(each.get("problem", "") for each in shown if uri in each.get("jwksUri", ""))


def part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def unsigned(**claims: Any) -> str:
    payload = {"iss": ISSUER, "sub": "amina", "aud": "web", "exp": int(time.time()) + 3600, **claims}
    return f"{part(json.dumps({'alg': 'none'}).encode())}.{part(json.dumps(payload).encode())}."


def tampered() -> str:
    """Another payload under the signature of a good token."""
    header, _, signature = KEY.token(ISSUER, aud="web").split(".")
    return ".".join((header, unsigned(sub="babur").split(".")[1], signature))


def signed_with_the_public_key() -> str:
    """An HMAC whose secret is what everybody can fetch (RFC 8725, section 2.1)."""
    header = part(json.dumps({"alg": "HS256", "kid": "b"}).encode())
    text = f"{header}.{unsigned().split('.')[1]}"
    return f"{text}.{part(hmac.digest(key_set(OTHER_KEY).encode(), text.encode(), hashlib.sha256))}"


async def test_a_token_must_hold_and_none_is_fine(cast: Cast) -> None:
    requests = {
        "none": ({}, 200),
        "good": (bearer(KEY.token(ISSUER, aud="web")), 200),
        "without an end": (bearer(KEY.token(ISSUER, aud="web", exp=None)), 200),
        "without an issuer": (bearer(KEY.token(ISSUER, aud="web", iss=None)), 401),
        "one of the audiences": (bearer(KEY.token(ISSUER, aud=["x", "web"])), 200),
        "basic authentication": ({"authorization": "Basic eDp5"}, 200),
        "expired": (bearer(KEY.token(ISSUER, lives=-120)), 401),
        "not yet valid": (bearer(KEY.token(ISSUER, nbf=int(time.time()) + 600)), 401),
        "another audience": (bearer(KEY.token(ISSUER, aud="x")), 403),
        "no audience": (bearer(KEY.token(ISSUER)), 403),
        "another issuer": (OTHERS, 401),
        "issuer's name, another's key": (bearer(OTHER_KEY.token(ISSUER, aud="web")), 401),
        "issuer's name and key id, another's key": (bearer(STRANGERS_KEY.token(ISSUER, aud="web")), 401),
        "unsigned": (bearer(unsigned()), 401),
        "tampered": (bearer(tampered()), 401),
        "signed with the public key": (bearer(signed_with_the_public_key()), 401),
        "no token": (NO_TOKEN, 401),
        "empty": (bearer(""), 200),
    }
    with cast.mesh.configuration.during(authentication(rule(audiences=["web", "shop"]))):
        await in_force(cast)
        # Expired, within the minute that clocks may differ by. Made only now: a busy machine might take what is left.
        assert await status(cast, bearer(KEY.token(ISSUER, aud="web", lives=-30))) == 200
        seen = await statuses(cast, {name: headers for name, (headers, _) in requests.items()})
        assert seen == {name: expected for name, (_, expected) in requests.items()}
    await eventually(lambda: status(cast, NO_TOKEN), lambda seen: seen == 200)


def mutations(token: str, number: int) -> Iterator[str]:
    """Tokens that are not quite this one: another byte anywhere, cut anywhere, parts missing, swapped or repeated."""
    chance = random.Random(4)  # noqa: S311 - the same every time
    header, payload, signature = token.split(".")
    for _ in range(number):
        at = chance.randrange(len(token) - 1)
        yield token[:at] + chr(ord(token[at]) ^ 1) + token[at + 1 :]
        yield token[:at]
    yield from (
        f"{header}.{payload}.",
        f"{header}..{signature}",
        f".{payload}.{signature}",
        "..",
        ".",
        "...",
        "." * 5000,
    )
    yield from (f"{payload}.{header}.{signature}", f"{payload}.{token}", f"{token}{token}", token * 5)
    yield from (f"{header}.{payload}.{'A' * length}" for length in (1, 2, 3, 86, 10_000))


CLAIMS: dict[str, tuple[int, dict[str, Any]]] = {
    "end as text": (401, {"exp": "tomorrow"}),
    "negative end": (401, {"exp": -1}),
    "end before time": (401, {"exp": -(10**300)}),
    "beginning as text": (401, {"nbf": "yesterday"}),
    "issuer as list": (401, {"iss": [ISSUER]}),
    "issuer with more": (401, {"iss": f"{ISSUER}/"}),
    "audience as object": (401, {"aud": {"web": True}}),
    "audience as number": (401, {"aud": 7}),
    "audience in another case": (403, {"aud": "WEB"}),
}


async def test_malformed_tokens_are_refused_and_harm_nobody(cast: Cast) -> None:
    good = KEY.token(ISSUER, aud="web")
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    with cast.mesh.configuration.during(authentication(rule(audiences=["web"]))):
        await in_force(cast)
        seen = {token: await status(cast, bearer(token)) for token in mutations(good, 60)}
        assert {token: code for token, code in seen.items() if code not in (401, 403)} == {}
        claims = {name: bearer(KEY.token(ISSUER, **{"aud": "web", **fields})) for name, (_, fields) in CLAIMS.items()}
        assert await statuses(cast, claims) == {name: expected for name, (expected, _) in CLAIMS.items()}
        assert await status(cast, bearer(KEY.token(ISSUER, aud="web", deep=deep))) in (200, 401)
        assert await status(cast, bearer(good)) == 200


async def test_every_algorithm(cast: Cast) -> None:
    keys = [signing_key(name, name) for name in ("RS256", "ES256", "ES384", "ES512", "EdDSA")]
    with cast.mesh.configuration.during(authentication({"issuer": ISSUER, "jwks": key_set(*keys)})):
        await in_force(cast)
        seen = await statuses(cast, {key.key_id: bearer(key.token(ISSUER)) for key in keys})
        assert seen == {key.key_id: 200 for key in keys}
        assert await status(cast, bearer(keys[0].token(ISSUER, headers={"kid": "ES256"}))) == 401


async def test_one_bad_key_spoils_nothing_and_a_set_of_bad_keys_refuses(cast: Cast) -> None:
    spoilt = json.loads(key_set(KEY))
    bad = {**spoilt["keys"][0], "kid": "bad", "x": "AAAA"}
    with cast.mesh.configuration.during(
        authentication({"issuer": ISSUER, "jwks": json.dumps({"keys": [bad, *spoilt["keys"]]})})
    ):
        await in_force(cast)
        assert await status(cast, GOOD) == 200
    await eventually(lambda: status(cast, NO_TOKEN), lambda seen: seen == 200)
    with cast.mesh.configuration.during(authentication({"issuer": ISSUER, "jwks": json.dumps({"keys": [bad]})})):
        await in_force(cast, GOOD)
        assert await status(cast) == 200


# Where tokens are, and what becomes of them.


async def test_tokens_are_looked_for_where_the_rule_says(cast: Cast) -> None:
    token, elsewhere = KEY.token(ISSUER), KEY.token(ISSUER, lives=-120)
    places = rule(
        fromHeaders=[{"name": "x-token", "prefix": "Token "}, {"name": "x-plain"}],
        fromParams=["jwt"],
        fromCookies=["session"],
        outputClaimToHeaders=[{"header": "x-user", "claim": "sub"}],
    )
    with cast.mesh.configuration.during(authentication(places)):
        await in_force(cast, {"x-plain": "this.is.no-token"})
        for headers, path in (
            ({"x-token": f"Token {token}"}, ""),
            ({"x-plain": token}, ""),
            ({}, f"?jwt={token}"),
            ({"cookie": f"a=b; session={token}"}, ""),
        ):
            found = await answer(cast, headers, path)
            assert (found.status, found.echo.headers.get("x-user")) == (200, "amina"), (headers, path)
        for headers, path in (
            ({"x-token": f"Token {elsewhere}"}, ""),
            ({}, f"?jwt={elsewhere}"),
            ({"cookie": f"session={elsewhere}"}, ""),
        ):
            assert await status(cast, headers, path) == 401, (headers, path)
        # What is anywhere else is no token.
        for headers, path in (
            (bearer(elsewhere), ""),
            ({}, f"?access_token={elsewhere}"),
            ({"cookie": f"x={token}"}, ""),
        ):
            found = await answer(cast, headers, path)
            assert (found.status, found.echo.headers.get("x-user")) == (200, None), (headers, path)


async def test_by_default_a_token_is_a_bearer_or_the_parameter_access_token(cast: Cast) -> None:
    with cast.mesh.configuration.during(authentication(rule())):
        await in_force(cast)
        assert await status(cast, path=f"?access_token={KEY.token(ISSUER, lives=-120)}") == 401
        assert await status(cast, path=f"?access_token={KEY.token(ISSUER)}") == 200


@pytest.mark.parametrize("kept", [True, False])
async def test_the_token_goes_on_only_if_it_is_to(cast: Cast, kept: bool) -> None:
    with cast.mesh.configuration.during(authentication(rule(forwardOriginalToken=kept))):
        await in_force(cast)
        assert ("authorization" in (await answer(cast, GOOD)).echo.headers) is kept


async def test_claims_go_on_in_headers_which_no_client_can_write(cast: Cast) -> None:
    forged = {"x-user": "forged", "X-Groups": "forged", "x-first": "forged", "x-payload": "forged"}
    written = rule(
        outputPayloadToHeader="x-payload",
        outputClaimToHeaders=[
            {"header": "x-user", "claim": "sub"},
            {"header": "x-groups", "claim": "groups"},
            {"header": "x-first", "claim": "nested.first"},
        ],
    )
    token = KEY.token(ISSUER, groups=["a", "b"], nested={"first": 1})
    names = [name.lower() for name in forged]
    with cast.mesh.configuration.during(authentication(written)):
        await in_force(cast)
        headers = (await answer(cast, {**forged, **bearer(token)})).echo.headers
        assert headers["x-user"] == "amina"
        assert json.loads(base64.urlsafe_b64decode(headers["x-groups"] + "==")) == ["a", "b"]
        assert headers["x-first"] == "1"
        assert json.loads(base64.urlsafe_b64decode(headers["x-payload"] + "=="))["nested"] == {"first": 1}
        headers = (await answer(cast, {**forged, **GOOD})).echo.headers
        assert [name for name in names if name in headers] == ["x-user", "x-payload"], "claims that are not there"
        for request in ({"headers": forged}, {"headers": {**forged, **PREFLIGHT}, "method": "OPTIONS"}):
            headers = (await answer(cast, **request)).echo.headers
            assert not [name for name in names if name in headers], "without a token"


SMUGGLED = ("a\nx-smuggled: 1", "a\r\nx-smuggled: 1", "a\r\n\r\nGET /admin HTTP/1.1\r\nhost: x\r\n\r\n", "a\0b")


@pytest.mark.parametrize("value", SMUGGLED)
async def test_no_claim_smuggles_a_header_or_a_request(cast: Cast, value: str) -> None:
    """Whoever chooses his name at an issuer does not choose headers of requests."""
    named = rule(outputClaimToHeaders=[{"header": "x-name", "claim": "name"}])
    with cast.mesh.configuration.during(authentication(named)):
        await in_force(cast)
        refused = await answer(cast, bearer(KEY.token(ISSUER, name=value)))
        assert (refused.status, "x-name" in refused.text) == (503, True)
        assert (await answer(cast, bearer(KEY.token(ISSUER, name="é")))).echo.headers["x-name"] == "é"


PREFLIGHT = {"origin": "https://a.example", "access-control-request-method": "GET"}


async def test_a_preflight_needs_no_token(cast: Cast) -> None:
    with cast.mesh.configuration.during(authentication(rule(presence="REQUIRED"))):
        await eventually(lambda: status(cast), lambda seen: seen == 401)
        assert await status(cast, PREFLIGHT, method="OPTIONS") == 200
        assert await status(cast, PREFLIGHT) == 401


# Several rules.


async def test_rules_of_several_policies_hold_together(cast: Cast) -> None:
    mine = authentication(rule())
    everywhere = authentication(rule(OTHER), name="everywhere", app="", namespace="istio-system")
    elsewhere = authentication(rule("https://third.example.org"), name="elsewhere", app="client")
    with cast.mesh.configuration.during(mine, everywhere, elsewhere):
        third = bearer(OTHER_KEY.token("https://third.example.org"))
        requests = {"none": {}, "mine": GOOD, "other": OTHERS, "third": third, "mixed": bearer(KEY.token(OTHER))}
        expected = {"none": 200, "mine": 200, "other": 200, "third": 401, "mixed": 401}
        await eventually(lambda: statuses(cast, requests), lambda seen: seen == expected)
    await eventually(lambda: status(cast, NO_TOKEN), lambda seen: seen == 200)


async def test_two_tokens(cast: Cast) -> None:
    """One that is good is enough, as in Istio; of two that are good the first issuer's counts."""
    rules = (
        rule(outputClaimToHeaders=[{"header": "x-one", "claim": "sub"}]),
        rule(OTHER, fromHeaders=[{"name": "x-other"}], outputClaimToHeaders=[{"header": "x-two", "claim": "sub"}]),
    )
    with cast.mesh.configuration.during(authentication(*rules)):
        await in_force(cast, {"x-other": "this.is.no-token"})
        good = {"x-other": OTHER_KEY.token(OTHER)}
        bad = {"x-other": OTHER_KEY.token(OTHER, lives=-120)}
        assert await status(cast, good) == 200
        assert await status(cast, bad) == 401
        assert await status(cast, {**NO_TOKEN, **bad}) == 401
        assert (await answer(cast, {**GOOD, **bad})).echo.headers["x-one"] == "amina"
        assert (await answer(cast, {**NO_TOKEN, **good})).echo.headers["x-two"] == "amina"
        both = (await answer(cast, {**GOOD, **good})).echo.headers
        assert both["x-one"] == "amina"
        assert not {"x-two", "authorization"} & both.keys()


async def test_required_tokens(cast: Cast) -> None:
    rules = (
        rule(presence="REQUIRED"),
        rule(OTHER),
        rule("https://partner.example.org", jwks=key_set(OTHER_KEY), fromHeaders=[{"name": "x-partner"}]),
    )
    good = {"x-partner": OTHER_KEY.token("https://partner.example.org")}
    bad = {"x-partner": OTHER_KEY.token("https://partner.example.org", lives=-120)}
    with cast.mesh.configuration.during(authentication(*rules)):
        await eventually(lambda: status(cast), lambda seen: seen == 401)
        requests = {
            "it": GOOD,
            "it and another": {**GOOD, **good},
            "it and a bad one": {**GOOD, **bad},
            "another in its place": OTHERS,
            "another": good,
            "bad": NO_TOKEN,
        }
        seen = await statuses(cast, requests)
        assert seen == {
            "it": 200,
            "it and another": 200,
            "it and a bad one": 401,
            "another in its place": 401,
            "another": 401,
            "bad": 401,
        }


# Together with AuthorizationPolicy.


def allow(*rules: dict[str, Any]) -> str:
    return json.dumps(
        {
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": "allow", "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": "server"}}, "rules": rules},
        }
    )


async def test_policies_ask_for_principals_and_claims(cast: Cast) -> None:
    by_path: dict[str, dict[str, Any]] = {
        "principal": {"from": [{"source": {"requestPrincipals": [f"{ISSUER}/amina"]}}]},
        "any": {"from": [{"source": {"requestPrincipals": ["*"]}}]},
        "audience": {"when": [{"key": "request.auth.audiences", "values": ["web"]}]},
        "presenter": {"when": [{"key": "request.auth.presenter", "values": ["app"]}]},
        "scope": {"when": [{"key": "request.auth.claims[scope]", "values": ["write"]}]},
        "roles": {"when": [{"key": "request.auth.claims[roles]", "values": ["cook"]}]},
        "groups": {"when": [{"key": "request.auth.claims[nested][groups]", "values": ["a*"]}]},
    }
    rules = [{**each, "to": [{"operation": {"paths": [f"/{path}"]}}]} for path, each in by_path.items()]
    everything = bearer(
        KEY.token(
            ISSUER,
            aud=["x", "web"],
            azp="app",
            scope="read write",
            roles="cook waiter",
            nested={"groups": ["b", "admin"]},
        )
    )
    poor = bearer(
        KEY.token(ISSUER, sub="babur", aud="x", azp="y", scope="rewrite", roles="cooks", nested={"groups": "b"})
    )
    with cast.mesh.configuration.during(authentication(rule(spaceDelimitedClaims=["roles"])), allow(*rules)):
        await in_force(cast)
        await eventually(lambda: status(cast), lambda seen: seen == 403)

        async def allowed(headers: dict[str, str]) -> set[str]:
            return {path for path in by_path if await status(cast, headers, path) == 200}

        assert await allowed(everything) == set(by_path)
        assert await allowed(poor) == {"any"}
        assert await allowed({}) == set()
    await eventually(lambda: status(cast), lambda seen: seen == 200)


# At gateways.


def entrance(routes: list[dict[str, Any]]) -> list[str]:
    metadata = {"name": "front", "namespace": "default"}
    server = {"port": {"number": 8000, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}
    service = {"hosts": ["*"], "gateways": ["front"], "http": routes}
    network = "networking.istio.io/v1"
    return [
        json.dumps({"apiVersion": network, "kind": kind, "metadata": metadata, "spec": spec})
        for kind, spec in (
            ("Gateway", {"selector": {"app": "gateway"}, "servers": [server]}),
            ("VirtualService", service),
        )
    ]


def to(host: str, **match: Any) -> dict[str, Any]:
    route: dict[str, Any] = {"route": [{"destination": {"host": host, "port": {"number": 8080}}}]}
    return {**route, **({"match": [{"headers": match["headers"]}]} if match else {})}


async def test_gateways_route_by_claims(cast: Cast) -> None:
    group, dotted = "@request.auth.claims.group", "@request.auth.claims[https://example.org/team][name]"
    written = entrance(
        [
            to("special", headers={group: {"exact": "special"}}),
            to("special", headers={dotted: {"prefix": "spec"}}),
            to("server"),
        ]
    )

    async def reached(headers: dict[str, str]) -> tuple[int, str]:
        found = await cast.client.http(f"http://{cast.gateway.spec.address}:8000/", headers=headers)
        return found.status, found.echo.workload if found.status == 200 else found.text

    by_group, by_list, by_team, plain = (
        bearer(KEY.token(ISSUER, **claims))
        for claims in (
            {"group": "special"},
            {"group": ["x", "special"]},
            {"https://example.org/team": {"name": "specialists"}},
            {"group": "specials"},
        )
    )
    with cast.mesh.configuration.during(*written, authentication(rule(), app="gateway")):
        await eventually(lambda: reached(by_group), lambda seen: seen == (200, "special"))
        assert await reached(by_list) == (200, "special")
        assert await reached(by_team) == (200, "special")
        assert await reached(plain) == (200, "server")
        assert await reached({}) == (200, "server")
        assert await reached({"group": "special", "request.auth.claims.group": "special"}) == (200, "server")
        assert (await reached(bearer(OTHER_KEY.token(ISSUER, group="special"))))[0] == 401
        assert (await reached(bearer(tampered())))[0] == 401


# Keys that are fetched.


async def test_keys_are_fetched_and_rotate(cast: Cast) -> None:
    keys = cast.documents / "keys"
    old, new = signing_key("old"), signing_key("new")
    fetched = rule(jwksUri=f"{cast.issuer}/keys", timeout="2s")

    async def seen() -> dict[str, int]:
        requests = {"none": {}, "old": bearer(old.token(ISSUER)), "new": bearer(new.token(ISSUER))}
        return await statuses(cast, requests)

    with cast.mesh.configuration.during(authentication(fetched)):
        # Before the first key set is there its tokens are refused, and others are as ever.
        await eventually(seen, lambda found: found == {"none": 200, "old": 401, "new": 401})
        keys.write_text(key_set(old))
        await eventually(seen, lambda found: found == {"none": 200, "old": 200, "new": 401})
        keys.write_text(key_set(old, new))
        await eventually(seen, lambda found: found == {"none": 200, "old": 200, "new": 200})
        keys.write_text(key_set(new))
        await eventually(seen, lambda found: found == {"none": 200, "old": 401, "new": 200})
        keys.write_text("<html>")
        assert cast.mesh.control_plane is not None

        await eventually(partial(problem, cast, "/keys"), lambda found: "no JSON Web Key Set" in found, steady=0)
        assert await seen() == {"none": 200, "old": 401, "new": 200}, "the last good ones stay"
        assert await cast.mesh.control_plane.metric("pilot_jwks_resolver_network_fetch_fail_total") > 0
        assert "keys of a token issuer not fetched" in cast.mesh.control_plane.log
    keys.unlink()


async def test_keys_are_discovered(cast: Cast) -> None:
    (cast.documents / "discovered").write_text(key_set(KEY))
    configuration = {"issuer": cast.issuer, "jwks_uri": f"{cast.issuer}/discovered"}
    (cast.documents / ".well-known" / "openid-configuration").write_text(json.dumps(configuration))
    with cast.mesh.configuration.during(authentication({"issuer": cast.issuer})):
        await in_force(cast)
        await eventually(lambda: status(cast, bearer(KEY.token(cast.issuer))), lambda seen: seen == 200)
        assert await status(cast, bearer(OTHER_KEY.token(cast.issuer))) == 401


async def test_no_policy_makes_the_control_plane_call_itself(cast: Cast) -> None:
    with cast.mesh.configuration.during(authentication(rule(jwksUri="http://127.0.0.1:15014/debug/configz"))):
        await in_force(cast, GOOD)

        found = await eventually(partial(problem, cast, "127.0.0.1"), bool, steady=0)
        assert "127.0.0.1 is a loopback address" in found
        assert await status(cast) == 200


async def test_envoy_itself_fetches_from_services_of_the_mesh(cast: Cast) -> None:
    (cast.documents / "inside").write_text(key_set(KEY))
    inside = rule(jwksUri="http://issuer.default.svc.cluster.local:8000/inside")
    with cast.mesh.configuration.during(authentication(inside)):
        await in_force(cast)
        await eventually(lambda: status(cast, GOOD), lambda seen: seen == 200)
        assert await status(cast, bearer(OTHER_KEY.token(ISSUER))) == 401
        assert cast.mesh.control_plane is not None
        shown = await cast.mesh.control_plane.debug("/debug/jwksz")
        assert not [each for each in shown if "issuer.default" in each.get("jwksUri", "")]


async def test_a_restart_of_the_control_plane_takes_no_keys_from_proxies(cast: Cast) -> None:
    (cast.documents / "kept").write_text(key_set(KEY))
    control_plane = cast.mesh.control_plane
    assert control_plane is not None
    with cast.mesh.configuration.during(authentication(rule(jwksUri=f"{cast.issuer}/kept"))):
        await in_force(cast)
        await eventually(lambda: status(cast, GOOD), lambda seen: seen == 200)
        async with cast.client.traffic(URL, headers=GOOD) as traffic:
            await control_plane.kill()
            # And the issuer has nothing to say when it comes back.
            (cast.documents / "kept").unlink()
            await control_plane.start()
            await cast.mesh.settled()
            await eventually(lambda: status(cast, GOOD), lambda seen: seen == 200)
        assert not traffic.errors
        assert traffic.statuses.keys() == {200}
        assert await status(cast, NO_TOKEN) == 401
