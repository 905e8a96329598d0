"""What a VirtualService does to the requests of meshed clients."""

import collections
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from e2e.harness import Answer, EchoApp, Mesh, Pod, eventually
from e2e.harness.traffic import Traffic

pytestmark = [
    pytest.mark.netns,
    pytest.mark.envoy,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("settled"),
]

URL = "http://server:8080/"
APP = EchoApp(http=(8080,))

SUBSETS = """
    apiVersion: networking.istio.io/v1
    kind: DestinationRule
    metadata: {name: server, namespace: default}
    spec:
      host: server
      subsets:
      - {name: v1, labels: {version: v1}}
      - {name: v2, labels: {version: v2}}
"""


@dataclass(frozen=True, slots=True)
class Cast:
    """Two versions of a server as subsets of one service, another service, and a meshed client."""

    mesh: Mesh
    first: Pod
    second: Pod
    client: Pod


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cast(shared_mesh: Mesh) -> AsyncIterator[Cast]:
    await shared_mesh.service("server", {"http": 8080})
    await shared_mesh.service("other", {"http": 8080})
    shared_mesh.configuration.apply(SUBSETS)
    async with (
        shared_mesh.pod("server", app=APP, version="v1", sidecar=True) as first,
        shared_mesh.pod("server", app=APP, version="v2", sidecar=True) as second,
        shared_mesh.pod("other", app=APP, sidecar=True),
        shared_mesh.pod("client", sidecar=True) as client,
    ):
        yield Cast(shared_mesh, first, second, client)


def rules(http: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: server, namespace: default}}
spec:
  hosts: [server]
  http: {http}
"""


TO_FIRST = "route: [{destination: {host: server, subset: v1}}]"
TO_SECOND = "route: [{destination: {host: server, subset: v2}}]"


def version(answer: Answer) -> str:
    return answer.echo.version


async def versions(traffic: Traffic) -> set[str | None]:
    """Which versions the next requests reach."""
    return {outcome.answer and version(outcome.answer) for outcome in await traffic.more(50)}


# Which route a request takes.


async def test_weights_and_their_change_under_traffic(cast: Cast) -> None:
    def shares(first: int, second: int) -> str:
        return rules(f"""
  - route:
    - {{destination: {{host: server, subset: v1}}, weight: {first}}}
    - {{destination: {{host: server, subset: v2}}, weight: {second}}}
""")

    async with cast.client.traffic(URL, per_second=200) as traffic:
        with cast.mesh.configuration.during(shares(100, 0)):
            await cast.mesh.settled()
            await eventually(lambda: cast.client.http(URL), lambda answer: version(answer) == "v1", steady=20)
            await traffic.turn()
            assert await versions(traffic) == {"v1"}
            cast.mesh.configuration.apply(shares(50, 50))
            await traffic.until(lambda outcome: outcome.answer is not None and version(outcome.answer) == "v2")
            await traffic.turn()
            seen = collections.Counter(version(outcome.answer) for outcome in await traffic.more(400) if outcome.answer)
            assert 140 < seen["v2"] < 260, f"more than six deviations from half of 400: {seen}"
            cast.mesh.configuration.apply(shares(0, 100))
            await eventually(lambda: versions(traffic), lambda seen: seen == {"v2"}, steady=1)
    assert not traffic.errors
    assert traffic.statuses.keys() == {200}


async def test_requests_are_told_apart_by_what_they_say(cast: Cast) -> None:
    matches = """
  - match:
    - headers: {x-canary: {exact: "yes"}}
    - uri: {exact: /exactly}
    - uri: {prefix: /below}
    - uri: {regex: "/v[0-9]+/.*"}
    - method: {exact: DELETE}
    - queryParams: {canary: {exact: "true"}}
    - authority: {prefix: server.default.svc}
    - {headers: {x-both: {exact: a}}, uri: {exact: /both}}
    - {withoutHeaders: {x-needed: {}}, uri: {prefix: /without}}
    - {uri: {exact: /CASE}, ignoreUriCase: true}
    route: [{destination: {host: server, subset: v2}}]
  - route: [{destination: {host: server, subset: v1}}]
"""
    to_second = {
        "header": cast.client.http(URL, headers={"x-canary": "yes"}),
        "exact": cast.client.http(URL + "exactly"),
        "exact, with a query": cast.client.http(URL + "exactly?a=b"),
        "prefix": cast.client.http(URL + "below/this"),
        "regex": cast.client.http(URL + "v12/x"),
        "method": cast.client.http(URL, method="DELETE"),
        "query": cast.client.http(URL + "?canary=true"),
        "authority": cast.client.http("http://server.default.svc:8080/"),
        "two conditions": cast.client.http(URL + "both", headers={"x-both": "a"}),
        "a header that is not there": cast.client.http(URL + "without"),
        "any case": cast.client.http(URL + "cAsE"),
    }
    to_first = {
        "nothing": cast.client.http(URL),
        "another header": cast.client.http(URL, headers={"x-canary": "no"}),
        "longer than exact": cast.client.http(URL + "exactly/not"),
        "regex in the middle": cast.client.http(URL + "a/v12/x"),
        "query": cast.client.http(URL + "?canary=false"),
        "one of two conditions": cast.client.http(URL + "both"),
        "the other of two": cast.client.http(URL, headers={"x-both": "a"}),
        "a header that is there": cast.client.http(URL + "without", headers={"x-needed": "1"}),
    }
    with cast.mesh.configuration.during(rules(matches)):
        await cast.mesh.settled()
        await eventually(lambda: cast.client.http(URL + "exactly"), lambda answer: version(answer) == "v2")
        assert {name: version(await request) for name, request in to_second.items()} == dict.fromkeys(to_second, "v2")
        assert {name: version(await request) for name, request in to_first.items()} == dict.fromkeys(to_first, "v1")


async def test_the_first_route_that_matches_is_taken(cast: Cast) -> None:
    ordered = f"""
  - match: [{{uri: {{prefix: /a}}}}]
    {TO_SECOND}
  - match: [{{uri: {{prefix: /a/b}}}}]
    {TO_FIRST}
  - {TO_FIRST}
"""
    with cast.mesh.configuration.during(rules(ordered)):
        await cast.mesh.settled()
        await eventually(lambda: cast.client.http(URL + "a"), lambda answer: version(answer) == "v2")
        assert version(await cast.client.http(URL + "a/b")) == "v2"
        assert version(await cast.client.http(URL + "b")) == "v1"


async def test_a_request_that_no_route_takes_is_not_found(cast: Cast) -> None:
    with cast.mesh.configuration.during(rules(f"[{{match: [{{uri: {{prefix: /known}}}}], {TO_FIRST}}}]")):
        await cast.mesh.settled()
        await eventually(lambda: cast.client.http(URL), lambda answer: answer.status == 404)
        assert (await cast.client.http(URL + "known")).status == 200
    await eventually(lambda: cast.client.http(URL), lambda answer: answer.status == 200)


async def test_another_service_as_the_destination(cast: Cast) -> None:
    with cast.mesh.configuration.during(rules("[{route: [{destination: {host: other}}]}]")):
        await cast.mesh.settled()
        answer = await eventually(lambda: cast.client.http(URL), lambda answer: answer.echo.workload == "other")
        assert answer.echo.host == "server:8080", "the host stays as the client wrote it"


async def test_a_subset_that_nobody_defines_is_unavailable(cast: Cast) -> None:
    with cast.mesh.configuration.during(rules("[{route: [{destination: {host: server, subset: v9}}]}]")):
        await cast.mesh.settled()
        await eventually(lambda: cast.client.http(URL), lambda answer: answer.status == 503)
    await eventually(lambda: cast.client.http(URL), lambda answer: answer.status == 200)


# What becomes of it on the way.


async def test_rewrites(cast: Cast) -> None:
    rewrites = f"""
  - match: [{{uri: {{prefix: /old/}}}}]
    rewrite: {{uri: /new/, authority: reviews.example.com}}
    {TO_FIRST}
  - match: [{{uri: {{prefix: /regex/}}}}]
    rewrite: {{uriRegexRewrite: {{match: "/regex/([a-z]+)/(.*)", rewrite: "/\\\\2/\\\\1"}}}}
    {TO_FIRST}
"""
    with cast.mesh.configuration.during(rules(rewrites)):
        await cast.mesh.settled()
        answer = await eventually(
            lambda: cast.client.http(URL + "old/path?q=1"), lambda answer: answer.echo.path == "/new/path?q=1"
        )
        assert answer.echo.host == "reviews.example.com"
        assert (await cast.client.http(URL + "regex/one/two")).echo.path == "/two/one"


async def test_redirects(cast: Cast) -> None:
    redirects = """
  - match: [{uri: {exact: /moved}}]
    redirect: {uri: /here, authority: elsewhere.example.com, redirectCode: 308}
  - match: [{uri: {prefix: /secure}}]
    redirect: {scheme: https, port: 8443}
"""
    with cast.mesh.configuration.during(rules(redirects)):
        await cast.mesh.settled()
        answer = await eventually(lambda: cast.client.http(URL + "moved"), lambda answer: answer.status == 308)
        assert answer.headers["location"] == "http://elsewhere.example.com/here"
        answer = await cast.client.http(URL + "secure/page")
        assert (answer.status, answer.headers["location"]) == (301, "https://server:8443/secure/page")


async def test_direct_responses(cast: Cast) -> None:
    with cast.mesh.configuration.during(rules("[{directResponse: {status: 418, body: {string: a teapot}}}]")):
        await cast.mesh.settled()
        answer = await eventually(lambda: cast.client.http(URL), lambda answer: answer.status == 418)
        assert answer.text == "a teapot"


async def test_headers(cast: Cast) -> None:
    headers = """
  - headers:
      request: {set: {x-set: mesh}, add: {x-added: mesh}, remove: [x-secret]}
      response: {set: {x-answer-set: mesh}, add: {x-answer-added: mesh}, remove: [x-internal]}
    route:
    - destination: {host: server, subset: v1}
      headers: {request: {set: {x-destination: v1}}}
"""
    sent = {"x-set": "client", "x-added": "client", "x-secret": "client"}
    answers = URL + "?header=x-answer-set:app&header=x-answer-added:app&header=x-internal:app"
    with cast.mesh.configuration.during(rules(headers)):
        await cast.mesh.settled()
        answer = await eventually(
            lambda: cast.client.http(answers, headers=sent), lambda answer: "x-destination" in answer.echo.headers
        )
    seen = answer.echo.headers
    assert (seen["x-set"], seen["x-added"], seen["x-destination"]) == ("mesh", "client,mesh", "v1")
    assert "x-secret" not in seen
    assert (answer.headers["x-answer-set"], answer.headers["x-answer-added"]) == ("mesh", "app,mesh")
    assert "x-internal" not in answer.headers


async def test_a_timeout_ends_slow_requests_alone(cast: Cast) -> None:
    with cast.mesh.configuration.during(rules(f"[{{timeout: 0.3s, {TO_FIRST}}}]")):
        await cast.mesh.settled()
        answer = await eventually(
            lambda: cast.client.http(URL + "?delay=1"), lambda answer: answer.status == 504, steady=0
        )
        assert answer.text == "upstream request timeout"
        # Of a machine that is busy no single request is sure to be in time.
        await eventually(lambda: cast.client.http(URL + "?delay=0.01"), lambda answer: answer.status == 200, steady=0)


async def test_retries(cast: Cast) -> None:
    def attempts(answer: Answer) -> int:
        return int(answer.echo.headers["x-envoy-attempt-count"])

    assert attempts(await cast.client.http(URL + "?status=500")) == 1, "Istio's default does not retry a 500"
    assert attempts(await cast.client.http(URL + "?status=503")) == 1
    with cast.mesh.configuration.during(rules(f"[{{retries: {{attempts: 3, retryOn: '5xx,409'}}, {TO_FIRST}}}]")):
        await cast.mesh.settled()
        answer = await eventually(
            lambda: cast.client.http(URL + "?status=500"), lambda answer: attempts(answer) == 4, steady=0
        )
        assert answer.status == 500
        assert attempts(await cast.client.http(URL + "?status=409")) == 4
        assert attempts(await cast.client.http(URL + "?status=404")) == 1


async def test_faults(cast: Cast) -> None:
    faults = f"""
  - match: [{{headers: {{x-fault: {{exact: abort}}}}}}]
    fault: {{abort: {{httpStatus: 599, percentage: {{value: 100}}}}}}
    {TO_FIRST}
  - match: [{{headers: {{x-fault: {{exact: delay}}}}}}]
    fault: {{delay: {{fixedDelay: 0.4s, percentage: {{value: 100}}}}}}
    {TO_FIRST}
  - {TO_FIRST}
"""
    with cast.mesh.configuration.during(rules(faults)):
        await cast.mesh.settled()
        await eventually(
            lambda: cast.client.http(URL, headers={"x-fault": "abort"}), lambda answer: answer.status == 599
        )
        async with cast.client.traffic(URL, per_second=50, headers={"x-fault": "delay"}) as traffic:
            delayed = await traffic.more(5)
        assert all(outcome.answer and outcome.answer.status == 200 for outcome in delayed)
        assert min(outcome.seconds for outcome in delayed) >= 0.4
        assert (await cast.client.http(URL)).status == 200


async def test_a_mirror_gets_a_copy_of_every_request(cast: Cast) -> None:
    async def received() -> int:
        return sum((await cast.second.envoy.stats("istio_requests_total")).values())

    async def received_after_one_more() -> int:
        await cast.client.http(URL)
        return await received()

    mirror = f"[{{mirror: {{host: server, subset: v2}}, mirrorPercentage: {{value: 100}}, {TO_FIRST}}}]"
    with cast.mesh.configuration.during(rules(mirror)):
        await cast.mesh.settled()
        before = await received()
        start = await eventually(received_after_one_more, lambda count: count > before, steady=0)
        for _ in range(10):
            assert version(await cast.client.http(URL)) == "v1", "the answer is never the mirror's"
        await eventually(received, lambda count: count >= start + 10, steady=0)


async def test_cors(cast: Cast) -> None:
    policy = f"""
  - corsPolicy:
      allowOrigins: [{{exact: https://shop.example.com}}]
      allowMethods: [GET, PUT]
      allowHeaders: [x-token]
      exposeHeaders: [x-total]
      maxAge: 10m
      allowCredentials: true
    {TO_FIRST}
"""
    preflight = {"origin": "https://shop.example.com", "access-control-request-method": "PUT"}
    with cast.mesh.configuration.during(rules(policy)):
        await cast.mesh.settled()
        answer = await eventually(
            lambda: cast.client.http(URL, method="OPTIONS", headers=preflight),
            lambda answer: "access-control-allow-origin" in answer.headers,
        )
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == "https://shop.example.com"
        assert answer.headers["access-control-allow-methods"] == "GET,PUT"
        assert answer.headers["access-control-allow-headers"] == "x-token"
        assert answer.headers["access-control-max-age"] == "600"
        assert answer.headers["access-control-allow-credentials"] == "true"
        answer = await cast.client.http(URL, headers={"origin": "https://shop.example.com"})
        assert answer.echo.version == "v1"
        assert answer.headers["access-control-expose-headers"] == "x-total"
        foreign = {**preflight, "origin": "https://evil.example.com"}
        answer = await cast.client.http(URL, method="OPTIONS", headers=foreign)
        assert "access-control-allow-origin" not in answer.headers
