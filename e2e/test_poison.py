"""Resources that Envoy rejects, beside good changes of the same transaction: nothing good is lost, the author is told.

What an operator can write of these in YAML is refused before any Envoy sees it. Behind that stands a second line, for
what nobody thought of; to see it, `dragoman serve` runs here with poison after its translation (`e2e.poison`).
"""

import json
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
import pytest_asyncio

from dragoman.mesh.proxy_id import ProxyType
from e2e.harness import EchoApp, Mesh, Pod, eventually
from e2e.harness.capture import PROXY_ID
from e2e.harness.control_plane import ControlPlane
from e2e.harness.sidecars import sidecars
from tests.support.until import until
from tests.translators.gateway_certificates import Authority, KeyPair

pytestmark = [pytest.mark.netns, pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

SERVER = "http://server:8080"
OTHER = "http://other:9090"
OUTBOUND_SERVER = "outbound|8080||server.default.svc.cluster.local"
OUTBOUND_OTHER = "outbound|9090||other.default.svc.cluster.local"


@dataclass(frozen=True, slots=True)
class Cast:
    """Two services, a client and two gateways; `latecomer` is a second server, no endpoint, whose Envoy tests start."""

    mesh: Mesh
    server: Pod
    other: Pod
    client: Pod
    latecomer: Pod
    gateway: Pod
    second_gateway: Pod

    @property
    def control_plane(self) -> ControlPlane:
        assert self.mesh.control_plane is not None
        return self.mesh.control_plane


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["delta", "sotw"])
async def cast(request: pytest.FixtureRequest) -> AsyncIterator[Cast]:
    protocol: Literal["delta", "sotw"] = request.param
    async with (
        Mesh.running() as mesh,
        ControlPlane(
            mesh.network.node, mesh.configuration.folder, mesh.directory, program=("-m", "e2e.poison.serve")
        ) as mesh.control_plane,
    ):
        mesh.sidecars = sidecars(mesh.control_plane.socket, protocol=protocol)
        gateways = sidecars(mesh.control_plane.socket, protocol=protocol, kind=ProxyType.ROUTER)
        await mesh.service("server", {"http": 8080})
        await mesh.service("other", {"http": 9090})
        async with (
            mesh.pod("server", app=EchoApp(http=(8080,)), sidecar=True) as server,
            mesh.pod("other", app=EchoApp(http=(9090,)), sidecar=True) as other,
            mesh.pod("client", sidecar=True) as client,
            mesh.pod("server", version="late", app=EchoApp(http=(8080,)), sidecar=True) as latecomer,
            mesh.pod("gateway", sidecar=gateways, captured=False, wait=False) as gateway,
            mesh.pod("gateway", sidecar=gateways, captured=False, wait=False) as second_gateway,
        ):
            await mesh.set_ready(latecomer, False)
            await latecomer.envoy.stop()
            yield Cast(mesh, server, other, client, latecomer, gateway, second_gateway)


# What is written, and how to see that it is in force. `tag` tells versions apart; `poison` makes the next one bad.


def virtual_service(tag: str, *, service: str = "server", poison: str = "none") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {service}, namespace: default}}
spec:
  hosts: [{service}]
  http:
  - headers: {{request: {{set: {{x-tag: "{tag}", x-asks-for: "{poison}"}}}}}}
    route: [{{destination: {{host: {service}}}}}]
"""


def authorization_policy(tag: str, *, service: str = "server", poison: str = "none") -> str:
    return f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {service}, namespace: default}}
spec:
  selector: {{matchLabels: {{app: {service}}}}}
  action: DENY
  rules: [{{to: [{{operation: {{ports: ["8080", "9090"], paths: [/denied-{tag}, /{poison}]}}}}]}}]
"""


SECONDS = {"before": 3, "good": 4, "after": 5, "repaired": 7}


def destination_rule(tag: str, *, service: str = "server", poison: str = "none") -> str:
    milliseconds = {"none": 0, "poison-pgv": 1, "poison-unknown-extension": 2}[poison]
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {service}, namespace: default}}
spec:
  host: {service}
  trafficPolicy: {{connectionPool: {{tcp: {{connectTimeout: {SECONDS.get(tag, 6)}.{milliseconds:03}s}}}}}}
"""


async def routed(cast: Cast, pod: Pod, tag: str, *, url: str = SERVER) -> bool:
    """A pod's requests are marked."""
    answer = await pod.http(f"{url}/")
    return answer.status == 200 and answer.echo.headers.get("x-tag") == tag


async def denied(cast: Cast, pod: Pod, tag: str, *, port: int = 8080) -> bool:
    """A pod's Envoy lets through what it should, and nothing else."""
    refused = await cast.client.http(f"http://{pod.address}:{port}/denied-{tag}")
    served = await cast.client.http(f"http://{pod.address}:{port}/")
    return (refused.status, served.status) == (403, 200)


async def timed(cast: Cast, pod: Pod, tag: str, *, cluster: str = OUTBOUND_SERVER) -> bool:
    """A pod's Envoy has the cluster with its timeout, and the cluster serves."""
    dump = (await pod.envoy.admin("/config_dump?resource=dynamic_active_clusters")).json
    found = {each["cluster"]["name"]: each["cluster"] for each in dump.get("configs", [])}
    return (
        found.get(cluster, {}).get("connect_timeout") == f"{SECONDS[tag]}s"
        and (await pod.http(f"{SERVER}/")).status == 200
    )


def companions(tag: str) -> tuple[str, ...]:
    """What is good in a transaction beside what is not."""
    return (
        virtual_service(tag, service="other"),
        authorization_policy(tag, service="other"),
        destination_rule(tag, service="other"),
    )


async def companions_in_force(cast: Cast, pod: Pod, tag: str) -> bool:
    return (
        await routed(cast, pod, tag, url=OTHER)
        and await denied(cast, cast.other, tag, port=9090)
        and await timed(cast, pod, tag, cluster=OUTBOUND_OTHER)
    )


@dataclass(frozen=True, slots=True)
class Case:
    """A poison, what is written to ask for it, and what becomes bad."""

    poison: str
    write: Callable[..., str]
    type_: str
    resource: str
    words: str
    """Of Envoy."""

    @property
    def kind(self) -> str:
        return {"rds": "VirtualService", "cds": "DestinationRule", "lds": "AuthorizationPolicy"}[self.type_]

    def early(self, cast: Cast) -> Pod:
        """A pod whose Envoy has the resource from the start."""
        return cast.server if self.type_ == "lds" else cast.client

    async def in_force(self, cast: Cast, pod: Pod, tag: str) -> bool:
        """Whether a version has effect at a pod's Envoy."""
        return await {"rds": routed, "cds": timed, "lds": denied}[self.type_](cast, pod, tag)


CASES = [
    Case("duplicate-domain", virtual_service, "rds", "8080", "Only unique values for domains are permitted"),
    Case("bad-regex", virtual_service, "rds", "8080", "missing ): (("),
    Case("missing-cluster", virtual_service, "rds", "8080", "unknown cluster 'outbound|8080||nowhere'"),
    Case("zero-weights", virtual_service, "rds", "8080", "Sum of weights in the weighted_cluster"),
    Case("pgv", destination_rule, "cds", OUTBOUND_SERVER, "is in the proxy's log"),
    Case("unknown-extension", destination_rule, "cds", OUTBOUND_SERVER, "Didn't find a registered"),
    Case("lua", authorization_policy, "lds", "virtualInbound", "script load error"),
    Case("two-terminal-filters", authorization_policy, "lds", "virtualInbound", "must be the last filter"),
    Case("address-clash", authorization_policy, "lds", "virtualInbound", "duplicate address"),
]


def location(file: Path, kind: str) -> str:
    """File and line of the last object of a kind, where it begins."""
    lines = file.read_text().splitlines()
    last = max(number for number, line in enumerate(lines) if line == f"kind: {kind}")
    return f"{file}:{last}"


async def held_back(cast: Cast) -> dict[tuple[str, str], Any]:
    page = await cast.control_plane.debug("/debug/nackz")
    return {(entry["type"], entry["name"]): entry for entry in page["heldBack"]}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.poison)
async def test_what_envoy_rejects_displaces_nothing_good(cast: Cast, case: Case) -> None:
    early, plane, together = case.early(cast), cast.control_plane, cast.mesh.configuration.together
    together(case.write("good"), *companions("before"))
    await eventually(lambda: case.in_force(cast, early, "good"), bool, steady=0)
    await eventually(lambda: companions_in_force(cast, cast.client, "before"), bool, steady=0)
    rejects = partial(plane.metric, "pilot_total_xds_rejects", type=case.type_)
    rejected_before = await rejects()
    async with cast.client.traffic(f"{SERVER}/", keep_alive=False) as traffic:
        together(*companions("after"), case.write("bad", poison=f"poison-{case.poison}"))

        # The good rest arrives.
        await eventually(lambda: companions_in_force(cast, cast.client, "after"), bool, steady=1)

        # The object is named, at every place where somebody may look.
        entry = (await eventually(lambda: held_back(cast), lambda held: (case.type_, case.resource) in held, steady=0))[
            case.type_, case.resource
        ]
        culprit = f"{case.kind} default/server"
        at = location(cast.mesh.configuration.joint, case.kind)
        assert case.words in entry["because"]
        assert {"object": culprit, "at": at} in entry["madeFrom"]
        assert not any("default/other" in each["object"] for each in entry["madeFrom"]), "nor is anybody else blamed"
        assert entry["servedInstead"] not in (None, entry["version"])
        (by, *_) = entry["rejectedBy"]
        assert by == "server-v1-1.default" or case.type_ != "lds"
        lines = plane.log.splitlines()
        told = [line for line in lines if line.startswith("error: ") and "rejected" in line]
        assert any(
            case.words in line and f"{culprit} ({at})" in line and "the last good version stays in force" in line
            for line in told
        ), told
        logged = [json.loads(line) for line in lines if '"resource rejected"' in line]
        assert any(f"{culprit} ({at})" in line["made_from"] and case.words in line["error"] for line in logged)
        assert await rejects() > rejected_before
        assert await plane.metric(f"pilot_xds_{case.type_}_reject", node=by) >= 1
        assert await plane.metric("dragoman_resources_held_back") >= 1
        syncz = {status["proxy"]: status["types"] for status in await plane.debug("/debug/syncz")}
        assert case.words in syncz[by][case.type_]["heldBack"][case.resource]

        # What was good is in force, for whoever comes later too; it is not even sent what would be rejected.
        assert await case.in_force(cast, early, "good")
        await cast.mesh.settled()  # the first rejection is told of; others that were sent the same reject it as well
        rejected_by_now = await rejects()
        await cast.latecomer.envoy.start()
        await cast.latecomer.envoy.ready()
        assert await case.in_force(cast, cast.latecomer, "good")
        await eventually(lambda: companions_in_force(cast, cast.latecomer, "after"), bool, steady=1)
        assert await rejects() == rejected_by_now
        await traffic.more(10)

        # The object is repaired, and that is all there is to do.
        together(*companions("after"), case.write("repaired"))
        for pod in (early, cast.latecomer):
            await eventually(partial(case.in_force, cast, pod, "repaired"), bool, steady=0)
        assert await held_back(cast) == {}
        assert await plane.metric("dragoman_resources_held_back") == 0
        await cast.latecomer.envoy.stop()
    assert not traffic.errors
    assert traffic.statuses.keys() == {200}


async def test_a_control_plane_that_comes_back_knows_what_was_rejected(cast: Cast) -> None:
    """The bad objects are still there: nobody must be sent again what is made of them, and all get the last good."""
    plane, together = cast.control_plane, cast.mesh.configuration.together
    kinds = {case.type_: case for case in CASES}.values()
    together(*(case.write("good") for case in kinds), *companions("before"))
    for case in kinds:
        await eventually(partial(case.in_force, cast, case.early(cast), "good"), bool, steady=0)
    async with cast.client.traffic(f"{SERVER}/", keep_alive=False) as traffic:
        together(*(case.write("bad", poison=f"poison-{case.poison}") for case in kinds), *companions("after"))
        names = {(case.type_, case.resource) for case in kinds}
        rejected = await eventually(lambda: held_back(cast), lambda held: names <= held.keys(), steady=0)
        await eventually(lambda: companions_in_force(cast, cast.client, "after"), bool, steady=0)
        restarted = datetime.now(UTC)
        await plane.stop()
        await plane.start()
        for case in kinds:
            assert await case.in_force(cast, case.early(cast), "good")
        await cast.latecomer.envoy.start()
        await cast.latecomer.envoy.ready()
        await cast.mesh.settled()
        for case in kinds:
            assert await case.in_force(cast, cast.latecomer, "good")
        await eventually(lambda: companions_in_force(cast, cast.latecomer, "after"), bool, steady=1)
        assert await plane.metric("pilot_total_xds_rejects") == 0
        told = await held_back(cast)
        for name in names:
            for field in ("version", "because", "servedInstead", "madeFrom"):
                assert told[name][field] == rejected[name][field]
            assert datetime.fromisoformat(told[name]["since"]) < restarted
        together(*(case.write("repaired") for case in kinds), *companions("after"))
        for case in kinds:
            for pod in (case.early(cast), cast.latecomer):
                await eventually(partial(case.in_force, cast, pod, "repaired"), bool, steady=0)
        assert await held_back(cast) == {}
        await cast.latecomer.envoy.stop()
    assert not traffic.errors
    assert traffic.statuses.keys() == {200}


# At gateways: certificates that do not fit, and addresses that are taken.


def gateway(*ports: int) -> str:
    servers = "".join(
        f"\n  - {{port: {{number: {port}, name: http-{port}, protocol: HTTP}}, hosts: ['*']}}" for port in ports
    )
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: gateway, namespace: default}}
spec:
  selector: {{app: gateway}}
  servers:
  - port: {{number: 8443, name: https, protocol: HTTPS}}
    hosts: ["*"]
    tls: {{mode: SIMPLE, credentialName: web}}{servers}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: front, namespace: default}}
spec:
  hosts: ["*"]
  gateways: [gateway]
  http: [{{route: [{{destination: {{host: other, port: {{number: 9090}}}}}}]}}]
"""


def secret(pair: KeyPair, remark: str = "", *, key: bytes | None = None) -> dict[str, Any]:
    data = {"tls.crt": remark.encode() + pair.certificate, "tls.key": key or pair.key}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": "web", "namespace": "default"},
        "data": {name: b64encode(value).decode() for name, value in data.items()},
    }


async def presented(cast: Cast, pod: Pod) -> bytes:
    """The certificate that a gateway shows to clients."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with cast.client.as_user(PROXY_ID).tcp(pod.address, 8443, tls=context) as connection:
        certificate: bytes = connection.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return certificate


async def restart(pod: Pod) -> None:
    await pod.envoy.kill()
    await pod.envoy.start()
    await pod.envoy.ready()


async def test_a_certificate_that_envoy_rejects_leaves_the_last_good_one(cast: Cast) -> None:
    plane, together, authority = cast.control_plane, cast.mesh.configuration.together, Authority()
    good, bad = authority.issue("web.example"), authority.issue("web.example")
    together(gateway(8081), secret(good), *companions("before"))
    await eventually(lambda: companions_in_force(cast, cast.client, "before"), bool, steady=0)
    for pod in (cast.gateway, cast.second_gateway):
        await eventually(partial(presented, cast, pod), lambda shown: shown == good.der, steady=0)

    together(gateway(8081), secret(bad, "poison-certificate\n"), *companions("after"))
    await eventually(lambda: companions_in_force(cast, cast.client, "after"), bool, steady=1)
    name = ("sds", "kubernetes://web")
    entry = (await eventually(lambda: held_back(cast), lambda held: name in held, steady=0))[name]
    assert "private key" in entry["because"]
    assert entry["madeFrom"] == [
        {"object": "Secret default/web", "at": location(cast.mesh.configuration.joint, "Secret")},
        {"object": "Gateway default/gateway", "at": location(cast.mesh.configuration.joint, "Gateway")},
    ]
    assert await plane.metric("pilot_total_xds_rejects", type="sds") >= 1
    told = [
        line for line in plane.log.splitlines() if line.startswith("error: ") and "'kubernetes://web' of SDS" in line
    ]
    assert told
    assert "Secret default/web (" in told[0]
    assert await presented(cast, cast.gateway) == good.der
    await restart(cast.second_gateway)
    assert await presented(cast, cast.second_gateway) == good.der, "and so does a gateway that starts now"
    assert "PRIVATE KEY" not in plane.log + json.dumps(await plane.debug("/debug/nackz")), "keys are told to nobody"

    together(gateway(8081), secret(bad), *companions("before"))
    for pod in (cast.gateway, cast.second_gateway):
        await eventually(partial(presented, cast, pod), lambda shown: shown == bad.der, steady=0)
    await eventually(lambda: companions_in_force(cast, cast.client, "before"), bool, steady=0)
    assert await held_back(cast) == {}

    # What YAML alone can do is seen before any Envoy gets it.
    together(gateway(8081), secret(good, key=bad.key), *companions("after"))
    await eventually(lambda: companions_in_force(cast, cast.client, "after"), bool, steady=1)
    told_of = "DRG0502 Secret default/web: data[tls.key]: the key does not belong to the certificate"
    await until(lambda: told_of in plane.log)  # beside the streams
    assert await presented(cast, cast.gateway) == bad.der
    assert await held_back(cast) == {}


async def test_an_address_that_is_taken_on_one_host_is_given_up_on_that_host_alone(cast: Cast) -> None:
    """The same content works elsewhere: it is not bad in itself."""
    together, plane = cast.mesh.configuration.together, cast.control_plane
    pair = Authority().issue("web.example")

    async def served(pod: Pod, port: int) -> bool:
        return (await cast.client.as_user(PROXY_ID).http(f"http://{pod.address}:{port}/")).status == 200

    together(gateway(8081), secret(pair), *companions("before"))
    await eventually(lambda: served(cast.gateway, 8081), bool, steady=0)
    await eventually(lambda: companions_in_force(cast, cast.client, "before"), bool, steady=0)
    with cast.gateway.namespace.socket() as squatter:
        squatter.bind(("0.0.0.0", 8082))  # noqa: S104  in the pod's own namespace
        squatter.listen()
        together(gateway(8081, 8082), secret(pair), *companions("after"))
        await eventually(lambda: served(cast.second_gateway, 8082), bool)
        await eventually(lambda: companions_in_force(cast, cast.client, "after"), bool, steady=0)
        # An Envoy of its own, which need not be as fast as the other.
        page = await eventually(lambda: plane.debug("/debug/nackz"), lambda page: bool(page["refused"]), steady=0)
        (refused,) = page["refused"]
        assert (refused["proxy"], refused["type"]) == (f"{cast.gateway.spec.name}.default", "lds")
        assert "Address already in use" in refused["message"]
        assert page["heldBack"] == []
        assert await served(cast.gateway, 8081)
    await restart(cast.gateway)
    await eventually(lambda: served(cast.gateway, 8082), bool, steady=0)
    await eventually(lambda: plane.debug("/debug/nackz"), lambda page: page["refused"] == [], steady=0)


# What an operator can write of all this in YAML never gets as far as an Envoy.


def written_rule(http: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: server, namespace: default}}
spec:
  hosts: [server]
  http: [{{{http}}}]
"""


TO_SERVER = "{destination: {host: server}, weight: 0}"
WRITTEN = {
    "bad-regex": ("DRG0306", written_rule(f"match: [{{uri: {{regex: '(('}}}}], route: [{TO_SERVER}]")),
    "zero-weights": ("DRG0305", written_rule(f"route: [{TO_SERVER}, {TO_SERVER}]")),
    "two-ends-of-a-route": ("DRG0307", written_rule(f"route: [{TO_SERVER}], redirect: {{uri: /x}}")),
    "timeout-of-nothing": ("DRG0303", destination_rule("good").replace("4.000s", "0s")),
}


@pytest.mark.parametrize("fault", WRITTEN)
async def test_what_yaml_alone_can_do_is_refused_with_a_code(cast: Cast, fault: str) -> None:
    plane, together = cast.control_plane, cast.mesh.configuration.together
    code, text = WRITTEN[fault]
    bad = "DestinationRule" if "kind: DestinationRule" in text else "VirtualService"
    good = {"VirtualService": virtual_service("good"), "DestinationRule": destination_rule("good")}
    together(*good.values(), *companions("before"))
    await eventually(lambda: in_force(cast, "good"), bool, steady=0)
    await eventually(lambda: companions_in_force(cast, cast.client, "before"), bool, steady=0)
    rejects = await plane.metric("pilot_total_xds_rejects")
    together(*companions("after"), *(text if kind == bad else each for kind, each in good.items()))
    await eventually(lambda: companions_in_force(cast, cast.client, "after"), bool, steady=1)
    assert await in_force(cast, "good")

    def told() -> str:
        lines = plane.log.splitlines()
        about = [line for line in lines if line.startswith(f"error: {cast.mesh.configuration.joint}:")]
        return about[-1] if about else ""

    await until(lambda: f": {code} {bad} default/server: spec." in told())  # once the streams have it
    assert told().endswith("the last good version stays in force")
    assert await plane.metric("pilot_total_xds_rejects") == rejects


async def in_force(cast: Cast, tag: str) -> bool:
    return await routed(cast, cast.client, tag) and await timed(cast, cast.client, tag)
