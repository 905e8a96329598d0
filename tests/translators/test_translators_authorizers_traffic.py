"""CUSTOM, AUDIT and dry runs with requests and connections through a real gateway Envoy and real authorizers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from aiohttp import web

from tests.support.authorizers import GrpcGuard, HttpGuard, allowed, denied, grpc_guard, http_guard
from tests.support.until import until
from tests.translators.gateway_mesh import HTTP, TCP, Answer, GatewayMesh, gateway_mesh

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

HOST = "a.example.com"
_STEADY = 10

ROUTES = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*.example.com"]}
  - {port: {number: 9000, name: tcp, protocol: TCP}, hosts: ["*"]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: server, namespace: shop}
spec:
  hosts: ["*.example.com"]
  gateways: [edge/gw]
  http:
  - {match: [{headers: {x-tier: {exact: gold}}}], directResponse: {status: 202}}
  - {route: [{destination: {host: server, port: {number: 8080}}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo, namespace: shop}
spec:
  hosts: ["*"]
  gateways: [edge/gw]
  tcp: [{match: [{port: 9000}], route: [{destination: {host: server, port: {number: 9000}}}]}]
"""

GUARDS = """
apiVersion: v1
kind: Service
metadata: {{name: guard, namespace: guards}}
spec:
  clusterIP: 10.96.0.20
  ports: [{{name: http, port: 8000}}, {{name: grpc, port: 9000}}, {{name: http-gone, port: 8001}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: guard-1, namespace: guards, labels: {{kubernetes.io/service-name: guard}}}}
addressType: IPv4
endpoints: [{{addresses: [127.0.0.1], conditions: {{ready: true}}}}]
ports: [{{name: http, port: {http}}}, {{name: grpc, port: {grpc}}}]
"""


@dataclass(frozen=True, slots=True)
class Cast:
    mesh: GatewayMesh
    http: HttpGuard
    grpc: GrpcGuard
    settings: dict[str, Any]

    async def get(self, path: str = "/", *, method: str = "GET", body: bytes = b"", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.mesh.session.request(
            method,
            f"http://{self.mesh.gateway}:{HTTP}{path}",
            headers={"Host": HOST, **named},
            data=body or None,
            allow_redirects=False,
        ) as response:
            content = await response.read()
            seen = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, seen, content)

    async def steadily(self, get: Callable[[], Awaitable[Answer]], status: int) -> Answer:
        """The answer once ten in a row have the status: a listener from before may take a connection or two more."""
        last = await self.mesh.eventually(get, status)

        async def in_a_row() -> bool:
            nonlocal last
            for _ in range(_STEADY):
                last = await get()
                if last.status != status:
                    return False
            return True

        await until(in_a_row)
        return last

    async def echoed(self) -> bool:
        """Whether bytes through the gateway's TCP port come back; a denied connection is closed at its first byte."""
        reader, writer = await asyncio.open_connection(self.mesh.gateway, TCP)
        try:
            writer.write(b"salaam")
            return await reader.readexactly(6) == b"salaam"
        except (OSError, asyncio.IncompleteReadError):
            return False
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    @asynccontextmanager
    async def under(self, *policies: dict[str, Any], **provider: Any) -> AsyncIterator[None]:
        """These policies and, beside the mesh's settings, one provider `guard`; then neither."""
        self.http.asked.clear()
        self.grpc.asked.clear()
        self.http.verdict, self.grpc.verdict = (lambda: web.Response()), allowed()
        providers = [{"name": "guard", **provider}] if provider else []
        self._write([*policies, self._config(providers)])
        await self.mesh.in_force()
        yield
        self._write([self._config([])])
        await self.mesh.in_force()
        await self.mesh.eventually(self.get, 200)

    def _config(self, providers: list[dict[str, Any]]) -> dict[str, Any]:
        text = yaml.safe_dump({**self.settings, "extensionProviders": providers})
        metadata = {"name": "istio", "namespace": "istio-system"}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"mesh": text}}

    def _write(self, documents: list[dict[str, Any]]) -> None:
        self.mesh.write("policies", documents)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cast(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cast]:
    folder = tmp_path_factory.mktemp("authorizers")
    noted = {
        name: f"%DYNAMIC_METADATA({where})%"
        for name, where in {
            "allow": "envoy.filters.http.rbac:istio_dry_run_allow_shadow_engine_result",
            "deny": "envoy.filters.http.rbac:istio_dry_run_deny_shadow_engine_result",
            "by": "envoy.filters.http.rbac:istio_dry_run_deny_shadow_effective_policy_id",
            "hint": "envoy.common:access_log_hint",
        }.items()
    }
    settings = {
        "defaultConfig": {"interceptionMode": "NONE", "gatewayTopology": {"numTrustedProxies": 1}},
        "accessLogFile": str(folder / "access.log"),
        "accessLogEncoding": "JSON",
        "accessLogFormat": json.dumps({"path": "%REQ(:PATH)%", "at": "%DOWNSTREAM_LOCAL_ADDRESS%", **noted}),
    }
    async with http_guard() as http, grpc_guard() as grpc:
        files = {"edge": ROUTES, "guards": GUARDS.format(http=http.port, grpc=grpc.port)}
        async with gateway_mesh(folder, files) as mesh:
            own = mesh.folder / "mesh.yaml"
            without_settings = own.read_text().partition("---\n")[2]
            found = Cast(mesh, http, grpc, settings)
            mesh.write("mesh", without_settings)
            await mesh.in_force()  # or what is waited for next might be this
            found._write([found._config([])])
            await mesh.in_force()
            await mesh.eventually(found.get, 200)
            await until(found.echoed)
            yield found


def policy(action: str, rules: str = "[{}]", name: str = "policy", **spec: Any) -> dict[str, Any]:
    annotations = {"istio.io/dry-run": "true"} if spec.pop("dry_run", False) else {}
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": "edge", "annotations": annotations},
        "spec": {"action": action, "rules": yaml.safe_load(rules), **spec},
    }


def custom(rules: str, name: str = "custom", provider: str = "guard") -> dict[str, Any]:
    return policy("CUSTOM", rules, name, provider={"name": provider})


def http_provider(**fields: Any) -> dict[str, Any]:
    return {"service": "guards/guard.guards.svc.cluster.local", "port": 8000, **fields}


def grpc_provider(**fields: Any) -> dict[str, Any]:
    return {"service": "guard.guards.svc.cluster.local", "port": 9000, **fields}


PRIVATE = "[{to: [{operation: {paths: [/private*]}}]}]"


def says(status: int, body: str = "", **headers: str) -> Callable[[], web.Response]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda: web.Response(status=status, text=body, headers=named)


async def test_an_http_authorizer_decides_what_the_policy_matches_and_sees_what_it_may(cast: Cast) -> None:
    provider = http_provider(
        pathPrefix="/check",
        includeRequestHeadersInCheck=["x-user-*", "X-Team"],
        includeAdditionalHeadersInCheck={"x-asked-by": "mesh"},
        headersToUpstreamOnAllow=["x-user"],
        headersToDownstreamOnAllow=["x-seen"],
        headersToDownstreamOnDeny=["x-reason"],
    )
    async with cast.under(custom(PRIVATE), envoyExtAuthzHttp=provider):
        cast.http.verdict = says(401, "not you", x_reason="stranger", x_inner="secret")
        answer = await cast.steadily(lambda: cast.get("/private?a=b", x_user_id="7", x_team="t", x_other="o"), 401)
        assert (answer.content, answer.headers["x-reason"]) == (b"not you", "stranger")
        assert "x-inner" not in answer.headers
        asked = cast.http.asked[-1]
        assert (asked.method, asked.path) == ("GET", "/check/private?a=b")
        assert (asked.headers["x-user-id"], asked.headers["x-team"], asked.headers["x-asked-by"]) == ("7", "t", "mesh")
        assert asked.headers["host"] == HOST
        assert "x-other" not in asked.headers

        cast.http.verdict = says(200, x_user="amina", x_seen="yes", x_inner="secret")
        answer = await cast.get("/private", x_user="forged")
        upstream = json.loads(answer.content)
        assert (answer.status, upstream["x-user"], answer.headers["x-seen"]) == (200, "amina", "yes")
        assert "x-inner" not in upstream
        assert "x-inner" not in answer.headers

        before = len(cast.http.asked)
        assert (await cast.get("/public")).status == 200
        assert len(cast.http.asked) == before, "asked only about what a rule matches"


async def test_what_an_http_authorizer_sees_of_a_body(cast: Cast) -> None:
    body = {"maxRequestBytes": 8, "allowPartialMessage": True}
    async with cast.under(custom(PRIVATE), envoyExtAuthzHttp=http_provider(includeRequestBodyInCheck=body)):

        async def asked() -> Answer:
            return await cast.get("/private", method="POST", body=b"0123456789")

        await _asked(cast.http.asked, asked)
        assert cast.http.asked[-1].body == b"01234567"
        assert (await asked()).status == 200
    body["allowPartialMessage"] = False
    async with cast.under(custom(PRIVATE), envoyExtAuthzHttp=http_provider(includeRequestBodyInCheck=body)):
        await cast.steadily(lambda: cast.get("/private", method="POST", body=b"0123456789"), 413)
        assert (await cast.get("/private", method="POST", body=b"0123")).status == 200
        assert cast.http.asked[-1].body == b"0123"


async def _asked(seen: list[Any], ask: Callable[[], Awaitable[Any]]) -> None:
    """Wait until the authorizer is asked each time."""

    async def in_a_row() -> bool:
        for _ in range(_STEADY):
            before = len(seen)
            await ask()
            if len(seen) == before:
                return False
        return True

    await until(in_a_row)


@pytest.mark.parametrize(
    ("fields", "status"),
    [({}, 403), ({"statusOnError": "503"}, 503), ({"failOpen": True}, 200)],
    ids=["closed", "a status of its own", "open"],
)
@pytest.mark.parametrize("why", ["gone", "late"])
async def test_an_authorizer_that_cannot_be_asked(cast: Cast, why: str, fields: dict[str, Any], status: int) -> None:
    without_endpoints = {"port": 8001}
    provider = http_provider(**fields, **(without_endpoints if why == "gone" else {"timeout": "0.05s"}))
    release = asyncio.Event()

    async def late() -> web.Response:
        await release.wait()
        return web.Response()

    async with cast.under(custom(PRIVATE), envoyExtAuthzHttp=provider):
        if why == "late":
            await _asked(cast.http.asked, lambda: cast.get("/private"))
            cast.http.verdict = late
        try:
            for _ in range(3):
                assert (await cast.steadily(lambda: cast.get("/private"), status)).status == status
            assert (await cast.get("/public")).status == 200
        finally:
            release.set()


async def test_a_grpc_authorizer_decides_and_sees_the_request(cast: Cast) -> None:
    body = {"maxRequestBytes": 100, "packAsBytes": True}
    provider = grpc_provider(includeRequestBodyInCheck=body)
    async with cast.under(custom(PRIVATE), envoyExtAuthzGrpc=provider):
        cast.grpc.verdict = denied(401, "not you", ("x-reason", "stranger"))
        answer = await cast.steadily(lambda: cast.get("/private?a=b", method="POST", body=b"\xff\x00", x_team="t"), 401)
        assert (answer.content, answer.headers["x-reason"]) == (b"not you", "stranger")
        request = cast.grpc.asked[-1].request.http
        assert (request.method, request.path, request.host) == ("POST", "/private?a=b", HOST)
        assert request.headers["x-team"] == "t"
        assert request.raw_body == b"\xff\x00"

        cast.grpc.verdict = allowed(("x-user", "amina"), downstream=(("x-seen", "yes"),))
        answer = await cast.get("/private", x_user="forged")
        assert (answer.status, json.loads(answer.content)["x-user"], answer.headers["x-seen"]) == (200, "amina", "yes")
        before = len(cast.grpc.asked)
        assert (await cast.get("/public")).status == 200
        assert len(cast.grpc.asked) == before


@pytest.mark.parametrize(("again", "status"), [(True, 202), (False, 200)])
@pytest.mark.parametrize("kind", ["http", "grpc"])
async def test_the_route_is_chosen_anew_by_what_the_authorizer_added_if_so_set(
    cast: Cast, kind: str, again: bool, status: int
) -> None:
    if kind == "http":
        added = http_provider(clearRouteCache=again, headersToUpstreamOnAllow=["x-tier"])
        provider = {"envoyExtAuthzHttp": added}
    else:
        provider = {"envoyExtAuthzGrpc": grpc_provider(clearRouteCache=again)}
    async with cast.under(custom(PRIVATE), **provider):
        cast.http.verdict, cast.grpc.verdict = says(200, x_tier="gold"), allowed(("x-tier", "gold"))
        asked = cast.http.asked if kind == "http" else cast.grpc.asked
        await _asked(asked, lambda: cast.get("/private"))
        assert (await cast.get("/private")).status == status
        assert (await cast.get("/private", x_tier="gold")).status == 202
        assert (await cast.get("/public")).status == 200


async def test_what_an_authorizer_allows_other_policies_may_deny(cast: Cast) -> None:
    others = (
        policy("DENY", "[{to: [{operation: {paths: [/private/never]}}]}]", "deny"),
        policy("ALLOW", "[{to: [{operation: {paths: ['/private/*', /open]}}]}]", "allow"),
    )
    async with cast.under(custom(PRIVATE), *others, envoyExtAuthzHttp=http_provider()):
        await cast.steadily(lambda: cast.get("/private/never"), 403)
        assert (await cast.get("/private/x")).status == 200
        assert [asked.path for asked in cast.http.asked][-1:] == ["/private/x"]
        assert (await cast.get("/other")).status == 403, "no ALLOW rule matches"
        assert (await cast.get("/open")).status == 200
        cast.http.verdict = says(403)
        assert (await cast.get("/private/x")).status == 403


@pytest.mark.parametrize("why", ["unknown provider", "several providers", "unknown service"])
async def test_what_cannot_be_asked_about_is_denied(cast: Cast, why: str) -> None:
    policies = [custom(PRIVATE, provider="nobody" if why == "unknown provider" else "guard")]
    if why == "several providers":
        policies.append(custom("[{to: [{operation: {paths: [/other]}}]}]", "second", "another"))
    service = {"service": "nobody.guards.svc.cluster.local"} if why == "unknown service" else {}
    async with cast.under(*policies, envoyExtAuthzHttp=http_provider(**service)):
        await cast.steadily(lambda: cast.get("/private"), 403)
        cast.http.asked.clear()  # by the rules of the test before, as long as they held
        assert (await cast.get("/private")).status == 403
        assert (await cast.get("/public")).status == 200
        assert (await cast.get("/other")).status == (403 if why == "several providers" else 200)
    assert not cast.http.asked


async def test_a_grpc_authorizer_decides_connections(cast: Cast) -> None:
    async with cast.under(custom("[{to: [{operation: {ports: ['9443']}}]}]"), envoyExtAuthzGrpc=grpc_provider()):
        await _asked(cast.grpc.asked, cast.echoed)
        assert await cast.echoed()
        assert cast.grpc.asked[-1].destination.address.socket_address.port_value == TCP
        cast.grpc.verdict = denied()
        assert not await cast.echoed()
        asked = len(cast.grpc.asked)
        assert (await cast.get("/")).status == 200, "the rule is about another port"
        assert len(cast.grpc.asked) == asked


async def test_connections_fail_closed_without_their_authorizer_unless_it_may_fail(cast: Cast) -> None:
    rule = custom("[{to: [{operation: {ports: ['9443']}}]}]")

    async def refused() -> bool:
        return not await cast.echoed()

    async with cast.under(rule, envoyExtAuthzGrpc=grpc_provider(port=8001)):
        await until(refused)
    await until(cast.echoed)
    async with cast.under(rule, envoyExtAuthzGrpc=grpc_provider(port=8001, failOpen=True)):
        for _ in range(3):
            await until(cast.echoed)


async def test_an_http_authorizer_is_not_asked_about_connections(cast: Cast) -> None:
    """As in Istio: there is no such filter; the policy does not hold there."""
    async with cast.under(custom("[{}]"), envoyExtAuthzHttp=http_provider()):
        cast.http.verdict = says(403)
        await cast.steadily(cast.get, 403)
        assert await cast.echoed()


async def test_dry_runs_and_audits_decide_nothing_and_are_in_the_access_log(cast: Cast) -> None:
    """Envoy writes its log files every ten seconds."""
    policies = (
        policy("DENY", "[{to: [{operation: {paths: [/dry/denied]}}]}]", "dry-deny", dry_run=True),
        policy("ALLOW", "[{to: [{operation: {paths: [/dry/denied]}}]}]", "dry-allow", dry_run=True),
        policy("AUDIT", "[{to: [{operation: {paths: [/dry/audited]}}]}]", "audit"),
        policy("DENY", "[{to: [{operation: {paths: [/dry/forbidden]}}]}]", "deny"),
    )
    paths = {"/dry/denied": 200, "/dry/audited": 200, "/dry/forbidden": 403}
    async with cast.under(*policies):
        await cast.steadily(lambda: cast.get("/dry/forbidden"), 403)
        for path, status in paths.items():
            assert (await cast.get(f"{path}?last")).status == status
    log = Path(cast.settings["accessLogFile"])
    seen: dict[str, dict[str, Any]] = {}

    async def logged() -> bool:
        # What stands after the last line break is still being written.
        for line in map(json.loads, (await asyncio.to_thread(log.read_text)).split("\n")[:-1]):
            path, _, query = (line["path"] or "").partition("?")
            if query == "last" and line["at"] == f"{cast.mesh.gateway}:{HTTP}":  # the server's proxy writes there too
                seen[path] = line
        return seen.keys() == paths.keys()

    await until(logged)
    denied_, audited, forbidden = (seen[path] for path in paths)
    assert (denied_["deny"], denied_["allow"], denied_["hint"]) == ("denied", "allowed", False)
    assert denied_["by"] == "ns[edge]-policy[dry-deny]-rule[0]"
    assert (audited["deny"], audited["allow"], audited["hint"]) == ("allowed", "denied", True)
    assert (forbidden["deny"], forbidden["hint"]) == ("allowed", False)
