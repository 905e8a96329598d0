"""What a DestinationRule does to the connections of meshed clients."""

import asyncio
import collections
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from dragoman.demo.callers import verified_caller
from e2e.harness import Answer, Command, EchoApp, Mesh, Pod, PodSpec, eventually

pytestmark = [
    pytest.mark.netns,
    pytest.mark.envoy,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("settled"),
]

CLIENT = "spiffe://cluster.local/ns/default/sa/client"

ALWAYS_500 = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Broken(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(500)
        self.send_header("content-length", "0")
        self.end_headers()

ThreadingHTTPServer(("", 8080), Broken).serve_forever()
"""


@dataclass(frozen=True, slots=True)
class Cast:
    """A meshed server of two pods, one that takes mutual TLS alone, one that ends TLS itself, and a meshed client."""

    mesh: Mesh
    client: Pod


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cast(shared_mesh: Mesh) -> AsyncIterator[Cast]:
    await shared_mesh.service("server", {"http": 8080, "http2-api": 8081, "web": 8082})
    await shared_mesh.service("strict", {"http": 8080})
    await shared_mesh.service("secure", {"http": 8443})
    shared_mesh.configuration.apply(
        """
        apiVersion: security.istio.io/v1
        kind: PeerAuthentication
        metadata: {name: strict, namespace: default}
        spec:
          selector: {matchLabels: {app: strict}}
          mtls: {mode: STRICT}
        """
    )
    app = EchoApp(http=(8080, 8081, 8082))

    def counting_connections(spec: PodSpec) -> Mapping[str, Any]:
        assert shared_mesh.sidecars is not None
        bootstrap = dict(shared_mesh.sidecars(spec))
        bootstrap["statsConfig"]["statsMatcher"]["inclusionList"]["patterns"].append({"prefix": "cluster.outbound"})
        return bootstrap

    async with (
        shared_mesh.pod("server", app=app, version="v1", sidecar=True),
        shared_mesh.pod("server", app=app, version="v2", sidecar=True),
        shared_mesh.pod("strict", app=EchoApp(http=(8080,)), sidecar=True),
        shared_mesh.pod("secure", app=EchoApp(https=(8443,))),
        shared_mesh.pod("client", sidecar=counting_connections) as client,
    ):
        yield Cast(shared_mesh, client)


def policy(host: str, text: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {host}, namespace: default}}
spec:
  host: {host}
  trafficPolicy: {text}
"""


def caller(answer: Answer) -> str | None:
    return verified_caller(answer.echo.headers.get("x-forwarded-client-cert", ""))


# Load balancing and connection pools.


async def test_requests_are_spread_over_all_endpoints(cast: Cast) -> None:
    answers = [await cast.client.http("http://server:8080/") for _ in range(60)]
    seen = collections.Counter(answer.echo.version for answer in answers)
    assert min(seen["v1"], seen["v2"]) > 10


async def test_consistent_hashing_keeps_a_user_at_one_endpoint(cast: Cast) -> None:
    async def endpoints_of_users() -> dict[str, set[str]]:
        users = collections.defaultdict(set)
        for user in map(str, range(12)):
            for _ in range(4):
                answer = await cast.client.http("http://server:8080/", headers={"x-user": user})
                users[user].add(answer.echo.version)
        return users

    with cast.mesh.configuration.during(policy("server", "{loadBalancer: {consistentHash: {httpHeaderName: x-user}}}")):
        await cast.mesh.settled()
        users = await eventually(
            endpoints_of_users, lambda users: all(len(versions) == 1 for versions in users.values()), steady=2
        )
    assert set.union(*users.values()) == {"v1", "v2"}, "different users are at different endpoints"


async def test_a_full_connection_pool_refuses_what_is_too_much(cast: Cast) -> None:
    async def ten_at_once() -> list[Answer]:
        return await asyncio.gather(*(cast.client.http("http://server:8080/?delay=0.3") for _ in range(10)))

    def some_refused(answers: list[Answer]) -> bool:
        return {answer.status for answer in answers} == {200, 503}

    narrow = "{connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}}"
    assert {answer.status for answer in await ten_at_once()} == {200}
    with cast.mesh.configuration.during(policy("server", narrow)):
        await cast.mesh.settled()
        answers = await eventually(ten_at_once, some_refused, steady=1)
        for refused in (answer for answer in answers if answer.status == 503):
            assert refused.headers["x-envoy-overloaded"] == "true"
            assert "overflow" in refused.text
    await eventually(ten_at_once, lambda answers: {answer.status for answer in answers} == {200}, steady=1)


async def test_http1_requests_go_out_as_http2_where_the_rule_says_so(cast: Cast) -> None:
    async def http2_connections() -> int:
        answer = await cast.client.http("http://server:8080/")
        assert (answer.echo.protocol, caller(answer)) == ("HTTP/1.1", CLIENT), "the application gets what it speaks"
        return await connections(cast.client, 8080, "http2")

    assert await http2_connections() == 0
    with cast.mesh.configuration.during(policy("server", "{connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}")):
        await cast.mesh.settled()
        await eventually(http2_connections, lambda count: count > 0)


async def test_requests_keep_the_clients_protocol_where_the_rule_says_so(cast: Cast) -> None:
    async def http1_connections() -> int:
        answer = await cast.client.http("http://server:8081/")
        assert (answer.echo.protocol, caller(answer)) == ("HTTP/2", CLIENT), "the application gets what it speaks"
        return await connections(cast.client, 8081, "http1")

    assert await http1_connections() == 0, "declared http2"
    with cast.mesh.configuration.during(policy("server", "{connectionPool: {http: {useClientProtocol: true}}}")):
        await cast.mesh.settled()
        await eventually(http1_connections, lambda count: count > 0)


async def connections(client: Pod, port: int, protocol: str) -> int:
    """How many connections a client's Envoy has made to the server in a version of HTTP."""
    name = f"cluster.outbound|{port}||server.default.svc.cluster.local;.upstream_cx_{protocol}_total"
    return (await client.envoy.stats("upstream_cx_http")).get(name, 0)


# Outlier detection.


async def test_an_endpoint_that_fails_is_ejected(cast: Cast) -> None:
    broken = Command((sys.executable, "-c", ALWAYS_500), ports=(8080,))
    ejection = """
      outlierDetection: {consecutive5xxErrors: 3, interval: 60s, baseEjectionTime: 60s, maxEjectionPercent: 100}
    """
    await cast.mesh.service("fragile", {"http": 8080})
    async with (
        cast.mesh.pod("fragile", app=EchoApp(http=(8080,)), sidecar=True),
        cast.mesh.pod("fragile", app=broken, version="broken", sidecar=True),
    ):

        async def statuses() -> set[int]:
            return {(await cast.client.http("http://fragile:8080/")).status for _ in range(20)}

        await eventually(statuses, lambda seen: seen == {200, 500}, steady=1)
        with cast.mesh.configuration.during(policy("fragile", ejection)):
            await cast.mesh.settled()
            await eventually(statuses, lambda seen: seen == {200}, steady=3)
        await eventually(statuses, lambda seen: seen == {200, 500}, steady=1)


# TLS.


async def test_disabled_tls_is_plaintext_to_whoever_takes_it(cast: Cast) -> None:
    with cast.mesh.configuration.during(
        policy("server", "{tls: {mode: DISABLE}}"), policy("strict", "{tls: {mode: DISABLE}}")
    ):
        await eventually(
            lambda: cast.client.http("http://server:8080/"),
            lambda answer: answer.status == 200 and caller(answer) is None,
        )
        answer = await eventually(lambda: cast.client.http("http://strict:8080/"), lambda answer: answer.status == 503)
        assert "upstream connect error" in answer.text
    await eventually(lambda: cast.client.http("http://strict:8080/"), lambda answer: answer.status == 200)


async def test_mutual_tls_by_rule(cast: Cast) -> None:
    with cast.mesh.configuration.during(policy("server", "{tls: {mode: ISTIO_MUTUAL}}")):
        await cast.mesh.settled()
        for port, protocol in {8080: "HTTP/1.1", 8081: "HTTP/2", 8082: "HTTP/1.1"}.items():
            answer = await eventually(
                partial(cast.client.http, f"http://server:{port}/"),
                lambda answer: answer.status == 200 and caller(answer) == CLIENT,
            )
            assert answer.echo.protocol == protocol


async def test_a_server_under_another_name_is_not_believed(cast: Cast) -> None:
    imposter = "{tls: {mode: ISTIO_MUTUAL, subjectAltNames: ['spiffe://cluster.local/ns/default/sa/somebody-else']}}"
    with cast.mesh.configuration.during(policy("server", imposter)):
        await cast.mesh.settled()
        await eventually(lambda: cast.client.http("http://server:8080/"), lambda answer: answer.status == 503)
    await eventually(lambda: cast.client.http("http://server:8080/"), lambda answer: answer.status == 200)


async def test_tls_is_originated_to_a_server_that_ends_it_itself(cast: Cast) -> None:
    with cast.mesh.configuration.during(policy("secure", "{tls: {mode: SIMPLE, insecureSkipVerify: true}}")):
        await cast.mesh.settled()
        answer = await eventually(lambda: cast.client.http("http://secure:8443/"), lambda answer: answer.status == 200)
        assert answer.echo.tls


@pytest.mark.parametrize("more", ["", ", sni: secure", ", sni: secure, subjectAltNames: [secure]"])
async def test_a_certificate_that_nobody_vouches_for_is_not_believed(cast: Cast, more: str) -> None:
    """Without `caCertificates` the system's roots decide, whatever else is written."""
    with cast.mesh.configuration.during(policy("secure", f"{{tls: {{mode: SIMPLE{more}}}}}")):
        await cast.mesh.settled()
        await eventually(lambda: cast.client.http("http://secure:8443/"), lambda answer: answer.status == 503)
        assert not [name for name in (await cast.client.envoy.stats("update_rejected")).items() if name[1]]


@pytest.mark.parametrize("mode", ["SIMPLE", "MUTUAL"])
async def test_tls_whose_credential_clients_are_not_given_is_never_plaintext(cast: Cast, mode: str) -> None:
    tls = f"{{tls: {{mode: {mode}, credentialName: secret}}}}"
    with cast.mesh.configuration.during(policy("server", tls), policy("secure", tls)):
        await cast.mesh.settled()
        await eventually(lambda: cast.client.http("http://server:8080/"), lambda answer: answer.status == 503)
        await eventually(lambda: cast.client.http("http://secure:8443/"), lambda answer: answer.status == 503)
        stats = await cast.client.envoy.stats("8443.*secure.*fail_verify_cert_hash")
        assert sum(stats.values()) > 0, "a handshake that ends with the server's certificate"
        assert not [name for name in (await cast.client.envoy.stats("update_rejected")).items() if name[1]]


# Precedence.


async def test_a_ports_own_policy_replaces_that_of_the_host(cast: Cast) -> None:
    text = """
      tls: {mode: DISABLE}
      portLevelSettings: [{port: {number: 8081}, tls: {mode: ISTIO_MUTUAL}}]
    """
    with cast.mesh.configuration.during(policy("server", "\n" + text)):
        await cast.mesh.settled()
        await eventually(lambda: cast.client.http("http://server:8080/"), lambda answer: caller(answer) is None)
        assert caller(await cast.client.http("http://server:8081/")) == CLIENT
