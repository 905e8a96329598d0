"""Where traffic goes that leaves a captured pod: by every name and address, known and unknown."""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from dragoman.demo.callers import verified_caller
from dragoman.mesh.proxy_id import ProxyType
from e2e.harness import Answer, Echo, EchoApp, Mesh, Pod, ServiceSpec, eventually, failing, mesh_settings
from e2e.harness.capture import INBOUND_SOURCE
from e2e.harness.sidecars import sidecars

pytestmark = [
    pytest.mark.netns,
    pytest.mark.envoy,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("settled"),
]

APP = EchoApp(http=(8080,), tcp=(9000,))
REGISTRY_ONLY = mesh_settings("outboundTrafficPolicy: {mode: REGISTRY_ONLY}")


@dataclass(frozen=True, slots=True)
class Cast:
    """A meshed server and its service, its headless twin, a meshed client, and a host beyond the cluster.

    Both have addresses of both families, and so has a service of theirs, `both`; `six` is a client of IPv6 alone.
    """

    mesh: Mesh
    service: ServiceSpec
    server: Pod
    client: Pod
    six: Pod
    beyond: Pod


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cast(shared_mesh: Mesh) -> AsyncIterator[Cast]:
    ports = {"http": 8080, "tcp-echo": 9000}
    service = await shared_mesh.service("server", ports)
    await shared_mesh.service("headless", ports, headless=True, selector={"app": "server"})
    await shared_mesh.service("lonely", ports)
    async with (
        shared_mesh.host("api.example.com", "192.0.2.7", app=EchoApp(http=(8080, 8099), tcp=(9000, 9099))) as beyond,
        shared_mesh.pod("server", app=APP, sidecar=True, ipv6="also") as server,
        shared_mesh.pod("client", sidecar=True, ipv6="also") as client,
        shared_mesh.pod("six", sidecar=True, ipv6="only", service_account="client") as six,
    ):
        shared_mesh.configuration.apply(*both_families(server, "both", FOUR, SIX))
        yield Cast(shared_mesh, service, server, client, six, beyond)


FOUR, SIX = "10.97.0.1", "fd00:97::1"


def both_families(pod: Pod, name: str, four: str, six: str) -> Iterator[Mapping[str, Any]]:
    """A dual-stack service and its slices, of IPv4 and of IPv6, as the controller of Kubernetes makes them."""
    ports = {"http": 8080, "tcp-echo": 9000}
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "clusterIP": four,
            "clusterIPs": [four, six],
            "selector": {"app": "server"},
            "ports": [{"name": port, "port": number} for port, number in ports.items()],
        },
    }
    for family, address in zip(("IPv4", "IPv6"), (pod.address, *pod.spec.more_addresses), strict=True):
        yield {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{name}-{family.lower()}",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": family,
            "ports": [{"name": port, "port": number} for port, number in ports.items()],
            "endpoints": [{"addresses": [address], "targetRef": {"kind": "Pod", "name": pod.spec.name}}],
        }


def caller(echo: Echo) -> str | None:
    return verified_caller(echo.headers.get("x-forwarded-client-cert", ""))


# Known destinations.


async def test_a_service_by_every_name_it_has(cast: Cast) -> None:
    for name in ("server", "server.default", "server.default.svc", "server.default.svc.cluster.local"):
        echo = (await cast.client.http(f"http://{name}:8080/")).echo
        assert (echo.workload, echo.host) == ("server", f"{name}:8080")
        assert caller(echo) == "spiffe://cluster.local/ns/default/sa/client"


async def test_a_service_by_its_address(cast: Cast) -> None:
    echo = (await cast.client.http(f"http://{cast.service.address}:8080/")).echo
    assert caller(echo) == "spiffe://cluster.local/ns/default/sa/client"
    async with cast.client.tcp(cast.service.address or "", 9000) as connection:
        await connection.send(b"salaam")
        assert await connection.receive(6) == b"salaam"


async def test_a_headless_service(cast: Cast) -> None:
    for name in ("headless", "headless.default.svc.cluster.local"):
        echo = (await cast.client.http(f"http://{name}:8080/")).echo
        assert (echo.workload, echo.peer) == ("server", INBOUND_SOURCE)
        assert caller(echo) == "spiffe://cluster.local/ns/default/sa/client"
    async with cast.client.tcp("headless", 9000) as connection:
        await connection.send(b"salaam")
        assert await connection.receive(6) == b"salaam"


async def test_one_pod_of_a_headless_service_by_its_own_name(cast: Cast) -> None:
    url = f"http://{cast.server.address}:8080/"
    echo = (await cast.client.http(url, headers={"host": "server-0.headless.default.svc.cluster.local"})).echo
    assert caller(echo) == "spiffe://cluster.local/ns/default/sa/client"


async def test_a_pod_by_its_address_is_no_service_and_gets_what_was_sent(cast: Cast) -> None:
    echo = (await cast.client.http(f"http://{cast.server.address}:8080/")).echo
    assert (echo.workload, caller(echo)) == ("server", None)


async def test_a_pod_that_calls_its_own_service(cast: Cast) -> None:
    echo = (await cast.server.http("http://server:8080/")).echo
    assert caller(echo) == "spiffe://cluster.local/ns/default/sa/server"
    async with cast.server.tcp("server", 9000) as connection:
        await connection.send(b"salaam")
        assert await connection.receive(6) == b"salaam"


async def test_an_external_name_is_another_name_of_a_service(cast: Cast) -> None:
    alias = """
        apiVersion: v1
        kind: Service
        metadata: {name: alias, namespace: default}
        spec: {type: ExternalName, externalName: server.default.svc.cluster.local}
    """
    with cast.mesh.configuration.during(alias):
        for name in ("alias", "alias.default.svc.cluster.local"):
            # DNS makes a CNAME of it: the address is the service's, the name stays.
            answer = await eventually(
                partial(cast.client.http, f"http://{cast.service.address}:8080/", headers={"host": name}),
                lambda answer: caller(answer.echo) == "spiffe://cluster.local/ns/default/sa/client",
            )
            assert answer.echo.host == name


async def test_a_service_without_endpoints_is_unavailable(cast: Cast) -> None:
    answer = await cast.client.http("http://lonely:8080/")
    assert (answer.status, answer.text) == (503, "no healthy upstream")
    async with cast.client.tcp("lonely", 9000) as connection:
        await connection.send(b"salaam")
        assert await connection.receive_until_closed() == b""


# Both families of addresses.


async def test_a_service_of_both_families_by_each_of_its_addresses(cast: Cast) -> None:
    # An endpoint is dialled at its first address, that of IPv4, and where that cannot be at the other.
    for client, virtual, peer in (
        (cast.client, FOUR, INBOUND_SOURCE),
        (cast.client, SIX, INBOUND_SOURCE),
        (cast.six, SIX, "::6"),
    ):
        host = f"[{virtual}]" if ":" in virtual else virtual
        # "Where that cannot be": a connection that takes 300 ms, as on a busy machine, is as good as none.
        answer = await eventually(
            partial(client.http, f"http://{host}:8080/"),
            partial(is_from, peer),
            steady=0,
        )
        assert caller(answer.echo) == "spiffe://cluster.local/ns/default/sa/client"
        await eventually(partial(greeted, client, virtual), lambda greeting: greeting == b"salaam", steady=0)


async def test_an_endpoint_gains_an_address_and_loses_it(cast: Cast) -> None:
    # The controller writes one slice after the other, and each may be pushed by itself.
    service, four, six = both_families(cast.server, "late", "10.97.0.2", "fd00:97::2")
    reached = partial(cast.six.http, "http://[fd00:97::2]:8080/")
    with cast.mesh.configuration.during(service, four):
        # No endpoint has an address of IPv6.
        await eventually(reached, lambda answer: answer.status == 503, steady=0)
        with cast.mesh.configuration.during(six):
            await eventually(reached, partial(is_from, "::6"), steady=0)
        await eventually(reached, lambda answer: answer.status == 503, steady=0)


def is_from(peer: str, answer: Answer) -> bool:
    """Whether the server answered, to a proxy that had come from there."""
    return answer.status == 200 and answer.echo.peer == peer


async def greeted(client: Pod, address: str) -> bytes:
    """What the echo server makes of a greeting."""
    async with client.tcp(address, 9000) as connection:
        await connection.send(b"salaam")
        return await connection.receive(6)


async def test_ipv6_that_no_service_has_passes_through(cast: Cast) -> None:
    (own,) = cast.server.spec.more_addresses
    for client in (cast.client, cast.six):
        echo = (await client.http(f"http://[{own}]:8080/")).echo
        assert (echo.workload, echo.peer, caller(echo)) == ("server", "::6", None)


FRONT = (
    """
    apiVersion: networking.istio.io/v1
    kind: Gateway
    metadata: {name: front, namespace: default}
    spec:
      selector: {app: gateway}
      servers: [{port: {number: 8000, name: http, protocol: HTTP}, hosts: ["*"]}]
    """,
    """
    apiVersion: networking.istio.io/v1
    kind: VirtualService
    metadata: {name: front, namespace: default}
    spec:
      hosts: ["*"]
      gateways: [front]
      http: [{route: [{destination: {host: server, port: {number: 8080}}}]}]
    """,
)
NOT_BY_IPV6 = """
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {name: front, namespace: default}
    spec:
      selector: {matchLabels: {app: gateway}}
      action: DENY
      rules: [{from: [{source: {ipBlocks: ["fd00:10::/64"]}}]}]
"""


async def test_a_gateway_listens_in_both_families_and_tells_them_apart(cast: Cast) -> None:
    assert cast.mesh.control_plane is not None
    gateways = sidecars(cast.mesh.control_plane.socket, kind=ProxyType.ROUTER)
    with cast.mesh.configuration.during(*FRONT):
        async with cast.mesh.pod("gateway", sidecar=gateways, captured=False, ipv6="also") as gateway:
            four, six = (
                partial(cast.client.http, f"http://{host}:8000/")
                for host in (gateway.address, f"[{gateway.spec.more_addresses[0]}]")
            )
            for reach in (four, six):
                await eventually(reach, lambda answer: answer.status == 200)
            with cast.mesh.configuration.during(NOT_BY_IPV6):
                await eventually(six, lambda answer: answer.status == 403)
                assert (await four()).status == 200


# Unknown destinations.


async def test_unknown_destinations_are_reached_as_if_there_were_no_mesh(cast: Cast) -> None:
    for port in (8080, 8099):  # one on which services of the mesh speak HTTP, and one of which the mesh knows nothing
        echo = (await cast.client.http(f"http://api.example.com:{port}/")).echo
        assert (echo.workload, echo.host, echo.peer) == (
            "api.example.com",
            f"api.example.com:{port}",
            cast.client.address,
        )
        assert (await cast.client.h2c(f"http://api.example.com:{port}/")).echo.protocol == "HTTP/2"
    for port in (9000, 9099):
        async with cast.client.tcp("api.example.com", port) as connection:
            await connection.send(b"salaam")
            assert await connection.receive(6) == b"salaam"


async def test_registry_only_closes_the_way_to_unknown_destinations_alone(cast: Cast) -> None:
    async def beyond() -> int:
        return (await cast.client.http("http://api.example.com:8080/")).status

    async def refused(url: str) -> bool:
        return await failing(cast.client.http(url)) is not None

    with cast.mesh.configuration.during(REGISTRY_ONLY):
        await eventually(beyond, lambda status: status == 502)
        for destination in ("api.example.com:8099", f"{cast.beyond.address}:8099"):
            await eventually(partial(refused, f"http://{destination}/"), bool)
        for port in (9000, 9099):
            async with cast.client.tcp("api.example.com", port) as connection:
                await connection.send(b"salaam")
                assert await connection.receive_until_closed() == b""
        assert (await cast.client.http(f"http://{cast.server.address}:8080/")).status == 502, "a pod's is no name"
        assert (await cast.client.http("http://server:8080/")).status == 200
        assert (await cast.client.http("http://headless:8080/")).status == 200
        async with cast.client.tcp("server", 9000) as connection:
            await connection.send(b"salaam")
            assert await connection.receive(6) == b"salaam"
    await eventually(beyond, lambda status: status == 200)


async def test_a_host_that_no_service_has_stays_as_it_is(cast: Cast) -> None:
    url = f"http://{cast.beyond.address}:8080/"
    echo = (await cast.client.http(url, headers={"host": "unheard-of.example.org"})).echo
    assert (echo.workload, echo.host) == ("api.example.com", "unheard-of.example.org")
