"""Strange values in policies: validation refuses them by name, or a real Envoy takes what we make of them.

One bad matcher makes Envoy reject the whole listener, and with it every other policy of a workload.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from envoy_data_plane.envoy.config.core.v3 import Address, SocketAddress
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.echo.v3 import Echo
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpFilter,
)

from crds.decode import decode
from crds.problem import Invalid, Severity
from crds.regex import MAX_SIZE
from crds.validate import validate
from dragoman.codec import LISTENER, encode, pack, to_json
from dragoman.mesh.labels import labels_of
from dragoman.sidecar import argv, find_envoy
from tests.support.mesh_of_yaml import Mesh
from translators import authorization

pytestmark = pytest.mark.envoy

TEXTS = (
    *(
        "a",
        "*",
        "**",
        "*a",
        "a*",
        "a*b",
        "*a*",
        "é",
        "x y",
        "a\nb",
        "a\rb",
        "a\0b",
        "%",
        "/",
        "//",
        "\\",
        "a" * 300,
        "{{",
    ),
    *(
        "{*}",
        "/{*}",
        "/{**}",
        "/{*}/{**}",
        "/{**}/{*}",
        "/a/{*}b",
        "/é/{*}",
        "/{}",
        "/{a}",
        "/%zz/{*}",
        "(",
        "[",
        "[a]",
    ),
    *(
        "1",
        "0",
        "65535",
        "65536",
        "-1",
        "10.0.0.1",
        "10.0.0.1/33",
        "10.1.2.3/8",
        "::1",
        "fd00::/8",
        "::ffff:1.2.3.4/100",
    ),
    *("a/b", "a/b/c", "https://a/b", "https://a*", "*/", "spiffe://a", "]^-", "a-z]", ".+", "(?i)"),
)
KEYS = (
    *("source.ip", "remote.ip", "source.namespace", "source.principal", "source.serviceAccount", "source.trustDomain"),
    *(
        "request.auth.principal",
        "request.auth.audiences",
        "request.auth.presenter",
        "destination.ip",
        "destination.port",
    ),
    *("connection.sni", "request.headers[x]", "request.headers[:path]", "request.headers[host]"),
    *("request.auth.claims[a]", "request.auth.claims[a][b]", "experimental.envoy.filters.network.mysql_proxy[a.b]"),
    *(f"request.headers[{name}]" for name in ("x y", "é", "a\nb", ":", "", "a\0", "X-Y", "x_y", "(")),
    *("request.auth.claims[é]", "request.auth.claims[a b]", "experimental.envoy.filters.[a]"),
)
SOURCES = (
    "principals",
    "requestPrincipals",
    "namespaces",
    "serviceAccounts",
    "trustDomains",
    "ipBlocks",
    "remoteIpBlocks",
)
OPERATIONS = ("hosts", "ports", "methods", "paths")


def rules() -> Iterator[dict[str, Any]]:
    for text in TEXTS:
        for name in SOURCES:
            for field in (name, f"not{name[0].upper()}{name[1:]}"):
                yield {"from": [{"source": {field: [text]}}]}
        for name in OPERATIONS:
            for field in (name, f"not{name[0].upper()}{name[1:]}"):
                yield {"to": [{"operation": {field: [text]}}]}
        for key in KEYS:
            yield {"when": [{"key": key, "values": [text]}]}
            yield {"when": [{"key": key, "notValues": [text, f"{text}b"]}]}


def policies() -> Iterator[Any]:
    """What validation lets through, as one policy for each rule: DENY, and ALLOW."""
    for number, rule in enumerate(rules()):
        for action in ("ALLOW", "DENY"):
            document = {
                "apiVersion": "security.istio.io/v1",
                "kind": "AuthorizationPolicy",
                "metadata": {"name": f"{action.lower()}-{number}", "namespace": "shop"},
                "spec": {"action": action, "rules": [rule]},
            }
            try:
                policy = decode(document)
            except Invalid:
                continue
            if not any(problem.severity is Severity.ERROR for problem in validate(policy)):
                yield policy


def test_envoy_takes_every_policy_that_validation_lets_through(tmp_path: Path) -> None:
    accepted = list(policies())
    assert len(accepted) > 1000
    refused = _refusal(tmp_path, accepted)
    while refused and len(accepted) > 1:  # the first that it does not take
        half = accepted[: len(accepted) // 2]
        found = _refusal(tmp_path, half)
        accepted, refused = (half, found) if found else (accepted[len(half) :], refused)
    assert not refused, (refused, accepted[0].spec)


def _refusal(folder: Path, held: list[Any]) -> str:
    """What Envoy says against the filters that stand for these policies; nothing if it takes them."""
    mesh = Mesh()
    mesh.adopt(held)
    web = labels_of({})
    chains = [
        [_manager([*authorization.http_filters(mesh.graph, "shop", web), _router()])],
        [*authorization.network_filters(mesh.graph, "shop", web, 9090), _echo()],
    ]
    listeners = [
        Listener(
            name=str(number),
            address=Address(socket_address=SocketAddress(address="127.0.0.1", port_value=10000 + number)),
            filter_chains=[FilterChain(filters=filters)],
        )
        for number, filters in enumerate(chains)
    ]
    limit = {"name": "limits", "static_layer": {"re2.max_program_size.error_level": MAX_SIZE}}
    config = {
        "static_resources": {"listeners": [to_json(LISTENER, encode(listener)) for listener in listeners]},
        "layered_runtime": {"layers": [limit]},
    }
    file = folder / "bootstrap.json"
    file.write_text(json.dumps(config))
    command = [*argv(find_envoy(), file, concurrency=1, log_level="critical"), "--mode", "validate"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    return "" if done.returncode == 0 else done.stderr[-1000:]


def _manager(filters: list[HttpFilter]) -> Filter:
    manager = HttpConnectionManager(stat_prefix="x", route_config=RouteConfiguration(), http_filters=filters)
    return Filter(name="envoy.filters.network.http_connection_manager", typed_config=pack(manager))


def _router() -> HttpFilter:
    return HttpFilter(name="envoy.filters.http.router", typed_config=pack(Router()))


def _echo() -> Filter:
    return Filter(name="envoy.filters.network.echo", typed_config=pack(Echo()))
