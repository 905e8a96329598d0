"""Configuration that is wrong, in all the ways there are, never takes away what works."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from dragoman.demo.callers import verified_caller
from e2e.harness import Answer, EchoApp, Mesh, Pod, eventually
from tests.support.until import until

pytestmark = [
    pytest.mark.netns,
    pytest.mark.envoy,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("settled"),
]

URL = "http://server:8080/"
APP = EchoApp(http=(8080,))


@dataclass(frozen=True, slots=True)
class Cast:
    """Two services and a client, all meshed."""

    mesh: Mesh
    client: Pod


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cast(shared_mesh: Mesh) -> AsyncIterator[Cast]:
    await shared_mesh.service("server", {"http": 8080})
    await shared_mesh.service("other", {"http": 8080})
    async with (
        shared_mesh.pod("server", app=APP, sidecar=True),
        shared_mesh.pod("other", app=APP, sidecar=True),
        shared_mesh.pod("client", sidecar=True) as client,
    ):
        yield Cast(shared_mesh, client)


def rules(mark: str, *, host: str = "server", match: str = "uri: {prefix: /}", more: str = "") -> str:
    """A VirtualService that marks the requests to a host."""
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {host}, namespace: default}}
spec:
  hosts: [{host}]
  http:
  - match: [{{{match}}}]
    headers: {{request: {{set: {{x-mark: "{mark}"}}}}}}
    route: [{{destination: {{host: {host}}}}}]
    {more}
  - route: [{{destination: {{host: {host}}}}}]
"""


def names_at_fault(cast: Cast, name: str) -> bool:
    """Whether the log says of an object that an Envoy has rejected what is made of it."""
    assert cast.mesh.control_plane is not None
    return any("rejected" in line and name in line for line in cast.mesh.control_plane.log.splitlines())


def mark(answer: Answer) -> str | None:
    return answer.echo.headers.get("x-mark")


async def other_changes(cast: Cast, name: str) -> None:
    """Other rules change and take effect: what came before them has been worked off, and blocks nothing."""
    cast.mesh.configuration.apply(rules(name, host="other"))
    await eventually(lambda: cast.client.http("http://other:8080/"), lambda answer: mark(answer) == name, steady=2)


BAD_EDITS = {
    "no YAML": "kind: [VirtualService\n  metadata: }",
    "half a file": rules("bad")[:200],
    "an unknown field": rules("bad", more="routes: []"),
    "a wrong type": rules("bad", more="timeout: soon"),
    "an invalid value": rules("bad", more="redirect: {uri: /x}"),
    "a regex that is none": rules("bad", match='uri: {regex: "("}'),
    "a regex that only RE2 refuses": rules("bad", match='uri: {regex: "(?=x).*"}'),
    "a regex too big for RE2": rules("bad", match='uri: {regex: "((a{1,100}){1,100}){1,10}"}'),
    "a header that is none": rules("bad", more='rewrite: {authority: "a\\r\\nb"}'),
}


@pytest.mark.parametrize("kind", BAD_EDITS)
async def test_a_bad_edit_leaves_the_last_good_version_in_force(cast: Cast, kind: str) -> None:
    with cast.mesh.configuration.during(rules("good")):
        await eventually(lambda: cast.client.http(URL), lambda answer: mark(answer) == "good")
        async with cast.client.traffic(URL) as traffic:
            file = cast.mesh.configuration.folder / "default.virtualservice.server.yaml"
            draft = file.with_suffix(".draft")
            draft.write_text(BAD_EDITS[kind])
            draft.replace(file)
            await other_changes(cast, kind)
            await traffic.more(20)
            async with cast.mesh.pod("newcomer", sidecar=True) as newcomer:
                assert mark(await newcomer.http(URL)) == "good", "who starts now gets the last good version too"
        assert not traffic.errors
        assert {mark(answer) for answer in traffic.answers} == {"good"}
        cast.mesh.configuration.apply(rules("repaired"))
        await eventually(lambda: cast.client.http(URL), lambda answer: mark(answer) == "repaired")
    await eventually(lambda: cast.client.http(URL), lambda answer: mark(answer) is None)


async def test_a_new_object_that_is_bad_changes_nothing(cast: Cast) -> None:
    with cast.mesh.configuration.during(rules("bad", match='uri: {regex: "(?<=x)"}')):
        await other_changes(cast, "beside a bad one")
        answer = await cast.client.http(URL)
        assert (answer.status, mark(answer)) == (200, None)


async def test_two_claims_to_one_domain_go_to_the_older(cast: Cast) -> None:
    """Envoy would refuse all routes of the port for one domain that two virtual hosts have."""
    twin = rules("younger").replace("name: server,", "name: twin, creationTimestamp: 2026-02-02T00:00:00Z,")
    first = rules("older").replace("name: server,", "name: server, creationTimestamp: 2026-01-01T00:00:00Z,")
    with cast.mesh.configuration.during(twin):
        await eventually(lambda: cast.client.http(URL), lambda answer: mark(answer) == "younger")
        with cast.mesh.configuration.during(first):
            await eventually(lambda: cast.client.http(URL), lambda answer: mark(answer) == "older")
            await other_changes(cast, "beside twins")
        await eventually(lambda: cast.client.http(URL), lambda answer: mark(answer) == "younger")


async def test_what_envoy_refuses_never_displaces_what_is_good(cast: Cast) -> None:
    """A file that is not there: only an Envoy can know that, and says so when it gets the cluster."""

    def rule(tls: str) -> str:
        return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: server, namespace: default}}
spec:
  host: server
  trafficPolicy: {{tls: {tls}}}
"""

    def trusted(answer: Answer) -> bool:
        return (
            answer.status == 200 and verified_caller(answer.echo.headers.get("x-forwarded-client-cert", "")) is not None
        )

    with cast.mesh.configuration.during(rule("{mode: ISTIO_MUTUAL}")):
        await eventually(lambda: cast.client.http(URL), trusted)
        async with cast.client.traffic(URL) as traffic:
            cast.mesh.configuration.apply(rule("{mode: SIMPLE, caCertificates: /no/such/file.pem}"))
            await other_changes(cast, "beside a refused one")
            await until(lambda: names_at_fault(cast, "DestinationRule default/server"))
            await traffic.more(20)
            async with cast.mesh.pod("newcomer", sidecar=True) as newcomer:
                assert trusted(await newcomer.http(URL)), "an Envoy that starts now gets the last good version"
                await other_changes(cast, "beside a newcomer")
                assert (await newcomer.http("http://other:8080/")).status == 200
            await cast.client.envoy.kill()
            await cast.client.envoy.start()
            await cast.client.envoy.ready()
            assert trusted(await cast.client.http(URL)), "and so does one that starts again"
        cast.mesh.configuration.apply(rule("{mode: DISABLE}"))
        await eventually(
            lambda: cast.client.http(URL), lambda answer: "x-forwarded-client-cert" not in answer.echo.headers
        )
