"""Rules that no validation saw: each is refused by name, or a real Envoy takes what we make of it.

One bad virtual host makes Envoy reject a whole route configuration, so there is no third way.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    Route,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher

from crds.decode import decode
from crds.regex import MAX_SIZE, refusal
from dragoman.codec import ROUTE, encode, to_json
from dragoman.sidecar import argv, find_envoy
from tests.translators.test_format_strings import BAD, GOOD
from tests.translators.test_routes_in_envoy import listener
from translators.format_strings import PLAIN
from translators.http_routes import Origin, http_routes
from translators.route_action import Target
from translators.untranslatable import UntranslatableError

TEXTS = ("", "a", "é", "x y", "\n", "a\rb", "\0", "%", "*", "/", "a" * 300, "{{")
NAMES = (
    *TEXTS,
    "host",
    "Host",
    ":authority",
    ":path",
    ":status",
    "content-length",
    "x:y",
    "(x)",
    "@request.auth.claims.",
)
REGEXES = (
    *("", "*", ".*", "(", "a(?=b)", r"(a)\1", "a{1001}", "(?:(?:a{1,100}){1,100}){1,100}", "[[:alpha:]]+", "[[:foo:]]"),
    *(r"\pN", "(?i)x", "(?P<n>x)", "a++", "x**", "\\", r"\Qa.b\E", r"\C", "(?#c)", r"\Z", r"\z", "{", "[z-a]", "(?>a)"),
    *(
        "(?x) a",
        "(?a)a",
        r"\x{41}",
        r"\u0041",
        "a{2}{3}",
        "()",
        "(a|b)*c{0,1000}",
        "((.{1000}){1})?" * 9,
        "[^a]{999}" * 9,
        "[^a]{999}" * 17,
        "(?:a{1,100}){1,10}",
        "[*+]+",
        "[à-é]",
        r"\x{100}",
        "(?P<n>x)(?P<n>y)",
    ),
)
DURATIONS = ("0s", "0.1ms", "1ms", "-1s", "87600h")
PERCENTS = (0, 0.00001, 100, 101, -1)
MATCH: dict[str, Any] = {"uri": {"prefix": "/"}}
TO: dict[str, Any] = {"destination": {"host": "reviews"}}


def hostile() -> Iterator[dict[str, Any]]:
    """`http` entries with one strange thing each."""
    for text in NAMES:
        yield {"match": [{"headers": {text: {"exact": "a"}}}], "route": [TO]}
        yield {"match": [{"withoutHeaders": {text: {}}}], "route": [TO]}
        yield {"match": [{"queryParams": {text: {"prefix": "a"}}}], "route": [TO]}
        for operation in ({"set": {text: "a"}}, {"add": {text: "a"}}, {"remove": [text]}):
            yield {"headers": {"request": operation, "response": operation}, "route": [TO]}
            yield {"route": [{**TO, "weight": 1, "headers": {"request": operation}}, {**TO, "weight": 1}]}
    for text in (*TEXTS, *GOOD, *BAD, *(f"%{name}%" for name in sorted(PLAIN))):
        yield {"headers": {"request": {"set": {"x": text}}}, "route": [TO]}
    for text in TEXTS:
        for kind in ("exact", "prefix"):
            yield {"match": [{"uri": {kind: text}, "name": text, "statPrefix": text}], "name": text, "route": [TO]}
            yield {"match": [{"headers": {"x": {kind: text}}, "queryParams": {"x": {kind: text}}}], "route": [TO]}
            yield {
                "match": [{"method": {kind: text}, "scheme": {kind: text}, "authority": {kind: text}}],
                "route": [TO],
            }
            yield {"corsPolicy": {"allowOrigins": [{kind: text}], "allowMethods": [text]}, "route": [TO]}
        yield {"rewrite": {"uri": text}, "route": [TO]}
        yield {"rewrite": {"authority": text}, "route": [TO]}
        yield {"headers": {"request": {"set": {"host": text}}}, "route": [{**TO, "weight": 1}, {**TO, "weight": 1}]}
        yield {"route": [{**TO, "headers": {"request": {"set": {"host": text}}}, "weight": 1}, {**TO, "weight": 1}]}
        for field in ("uri", "prefixRewrite", "authority", "scheme"):
            yield {"redirect": {field: text}}
        yield {"directResponse": {"status": 200, "body": {"string": text}}}
        yield {"retries": {"attempts": 1, "retryOn": text}, "route": [TO]}
        yield {"fault": {"abort": {"grpcStatus": text, "percentage": {"value": 1}}}, "route": [TO]}
    for regex in REGEXES:
        yield {"match": [{"uri": {"regex": regex}}], "route": [TO]}
        yield {"match": [{"headers": {"x": {"regex": regex}}, "queryParams": {"x": {"regex": regex}}}], "route": [TO]}
        yield {"corsPolicy": {"allowOrigins": [{"regex": regex}]}, "route": [TO]}
        for rewrite in ("", r"\0", r"\1", r"\2", "\\\\", "x\\", r"\10", r"\a", "$1"):
            yield {"rewrite": {"uriRegexRewrite": {"match": regex, "rewrite": rewrite}}, "route": [TO]}
    for duration in DURATIONS:
        yield {"timeout": duration, "route": [TO]}
        yield {"retries": {"attempts": 1, "perTryTimeout": duration}, "route": [TO]}
        yield {"retries": {"attempts": 1, "backoff": duration}, "route": [TO]}
        yield {"corsPolicy": {"maxAge": duration}, "route": [TO]}
        yield {"fault": {"delay": {"fixedDelay": duration, "percentage": {"value": 1}}}, "route": [TO]}
    for value in PERCENTS:
        yield {"fault": {"abort": {"httpStatus": 500, "percentage": {"value": value}}}, "route": [TO]}
        yield {"mirror": TO["destination"], "mirrorPercentage": {"value": value}, "route": [TO]}
    for status in (0, 199, 200, 301, 304, 308, 599, 600, 2**31 - 1):
        yield {"directResponse": {"status": status}}
        yield {"redirect": {"redirectCode": status, "authority": "a"}}
        yield {"fault": {"abort": {"httpStatus": status, "percentage": {"value": 1}}}, "route": [TO]}
        yield {"retries": {"attempts": 1, "retryOn": str(status)}, "route": [TO]}
    for weights in ((0, 0), (0,), (-1, 2), (2**31 - 1, 2**31 - 1, 2**31 - 1), (1, 0)):
        yield {"route": [{**TO, "weight": weight} for weight in weights]}
    for attempts in (-1, 0, 2**31 - 1):
        yield {"retries": {"attempts": attempts}, "route": [TO]}
    yield {"redirect": {"port": 70000}}
    yield {"directResponse": {"status": 200, "body": {"string": "a" * (1024 * 1024 + 1)}}}
    yield {"route": []}
    yield {"delegate": {"name": "other"}}
    yield {"match": [MATCH]}


@pytest.mark.envoy
def test_what_we_do_not_refuse_a_real_envoy_takes(tmp_path: Path) -> None:
    origin = Origin(80, "mesh", "shop", frozenset())
    taken: list[tuple[dict[str, Any], tuple[Route, ...]]] = []
    refused: list[UntranslatableError] = []
    for number, http in enumerate(hostile()):
        metadata = {"name": f"rule{number}", "namespace": "shop"}
        spec = {"hosts": ["reviews"], "http": [http]}
        document = {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": metadata,
            "spec": spec,
        }
        try:
            rule: Any = decode(document)
            taken.append((http, http_routes(rule, origin, lambda _: Target("outbound|80||reviews"))))
        except UntranslatableError as error:
            refused.append(error)
    assert len(taken) > 300
    assert len(refused) > 100
    assert all(error.path.startswith("spec.http[0]") and error.message for error in refused)

    hosts = [
        VirtualHost(name=str(number), domains=[f"{number}.example.com"], routes=list(routes))
        for number, (_, routes) in enumerate(taken)
    ]
    assert _envoy_takes(tmp_path, hosts) == "", next(
        (taken[int(host.name)][0] for host in hosts if _envoy_takes(tmp_path, [host])), "only together"
    )


def _envoy_takes(folder: Path, hosts: list[VirtualHost]) -> str:
    """What Envoy says against a route configuration of the virtual hosts; nothing if it takes it."""
    routes = RouteConfiguration(
        name="x", virtual_hosts=hosts, validate_clusters=False, max_direct_response_body_size_bytes=1024 * 1024
    )
    limit = {"name": "limits", "static_layer": {"re2.max_program_size.error_level": MAX_SIZE}}
    config = {
        "static_resources": {"listeners": [listener(folder, "x", to_json(ROUTE, encode(routes)))]},
        "layered_runtime": {"layers": [limit]},
    }
    file = folder / "bootstrap.json"
    file.write_text(json.dumps(config))
    command = [*argv(find_envoy(), file, concurrency=1, log_level="critical"), "--mode", "validate"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    return "" if done.returncode == 0 else done.stderr[-1000:]


@pytest.mark.envoy
@pytest.mark.parametrize("text", [text for text in REGEXES if text and refusal(text)])
def test_a_real_envoy_refuses_the_regular_expressions_that_we_refuse(tmp_path: Path, text: str) -> None:
    match = RouteMatch(safe_regex=RegexMatcher(regex=text))
    route = Route(match=match, direct_response=DirectResponseAction(status=200))
    assert _envoy_takes(tmp_path, [VirtualHost(name="x", domains=["*"], routes=[route])])
