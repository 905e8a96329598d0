"""Strange values in rules about tokens: validation refuses them by name, or a real Envoy takes what we make of them.

One provider that Envoy does not take costs the whole listener, and with it every policy of a workload.
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
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpFilter,
)

from crds.decode import decode
from crds.problem import Invalid, Severity
from crds.validate import validate
from dragoman.codec import LISTENER, encode, pack, to_json
from dragoman.mesh.inputs import JWKS_FETCHER, KeyFetcher
from dragoman.mesh.labels import labels_of
from dragoman.sidecar import argv, find_envoy
from tests.support.json_web_keys import key_set, signing_key
from tests.support.mesh_of_yaml import Mesh, service
from translators import jwt_authn

pytestmark = pytest.mark.envoy

TEXTS = (
    *(
        "a",
        "A-b",
        "a_b",
        "a b",
        "é",
        "a\nb",
        "a\rb",
        "a\0b",
        ":path",
        ":",
        "host",
        "",
        " ",
        "*",
        "%",
        '"',
        "\\",
        "\U0001f511",
    ),
    *(
        "a" * 300,
        "a" * 70_000,
        "a.b",
        ".",
        "..",
        "a..b",
        ".a",
        "a.",
        "[a]",
        "a;b",
        "a=b",
        "a,b",
        "a&b",
        "{",
        "}",
        "%REQ(a)%",
    ),
    *("https://a.example", "http://a", "https://a:0", "https://a:99999", "https://[", "https://[::1]/k", "file:///k"),
    *(
        f"{scheme}keys.shop.svc.cluster.local{rest}"
        for scheme in (
            "http://",
            "HTTP://",
            "https://",
            "http:",
            "http:/",
            "//",
            "http://me@",
            "http://me:pw@",
            "http:// ",
        )
        for rest in (
            "/k",
            "",
            "/\n",
            ":80",
            ":80/",
            ":080/k",
            ":0/",
            ":/k",
            "?a=b",
            "#a",
            "/k#a",
            "./k",
            "/é",
            "/ ",
            "\\k",
            "/%zz",
            "//",
            "/[",
        )
    ),
    "http://KEYS.shop.svc.cluster.local/",
)
KEY = signing_key("a")
MEMBERS = ("kty", "crv", "x", "y", "kid", "alg", "use", "key_ops", "d", "n", "e", "k", "x5c")
VALUES: tuple[Any, ...] = (
    "",
    "a",
    "AAAA",
    "RSA",
    "oct",
    "OKP",
    "ES384",
    "enc",
    1,
    -1,
    1e300,
    None,
    True,
    [],
    {},
    ["a"],
    "é",
    "\0",
    "A" * 5000,
)


def rules() -> Iterator[dict[str, Any]]:
    for text in TEXTS:
        yield {"issuer": text}
        yield {"audiences": [text, "b", text]}
        yield {"fromHeaders": [{"name": text}, {"name": "a"}]}
        yield {"fromHeaders": [{"name": "a", "prefix": text}]}
        yield {"fromParams": [text, text]}
        yield {"fromCookies": [text, text]}
        yield {"outputPayloadToHeader": text}
        yield {"outputClaimToHeaders": [{"header": text, "claim": "a"}]}
        yield {"outputClaimToHeaders": [{"header": "x-a", "claim": text}] * 2}
        yield {"spaceDelimitedClaims": [text, text, "scope"]}
        yield {"jwks": text}
        yield {"jwksUri": text, "jwks": None}
    for duration in ("0s", "1ns", "1ms", "24h", "8760h", "87600000h", "-1s"):
        yield {"timeout": duration, "jwks": None, "jwksUri": "http://keys.shop.svc.cluster.local/k"}
    for member in MEMBERS:
        for value in VALUES:
            yield {"jwks": json.dumps({"keys": [{**KEY.public, member: value}]})}
            yield {"jwks": json.dumps({"keys": [{**KEY.public, member: value}, KEY.public]})}
    for text in ('{"keys":[]}', '{"keys":{}}', "[]", '{"a":1,"a":2,"keys":[]}', '{"keys":[1e999]}', "[" * 1000):
        yield {"jwks": text}


def policies() -> Iterator[Any]:
    """What validation lets through, as one policy for each rule."""
    for number, rule in enumerate(rules()):
        written = {"issuer": f"https://{number}.example", "jwks": key_set(KEY), **rule}
        document = {
            "apiVersion": "security.istio.io/v1",
            "kind": "RequestAuthentication",
            "metadata": {"name": f"p{number}", "namespace": "shop"},
            "spec": {"jwtRules": [{name: value for name, value in written.items() if value is not None}]},
        }
        try:
            policy = decode(document)
        except Invalid:
            continue
        if not any(problem.severity is Severity.ERROR for problem in validate(policy)):
            yield policy


def test_envoy_takes_every_rule_that_validation_lets_through(tmp_path: Path) -> None:
    accepted = list(policies())
    assert len(accepted) > 400
    refused = _refusal(tmp_path, accepted)
    while refused and len(accepted) > 1:  # the first that it does not take
        half = accepted[: len(accepted) // 2]
        found = _refusal(tmp_path, half)
        accepted, refused = (half, found) if found else (accepted[len(half) :], refused)
    assert not refused, (refused, accepted[0].spec)


def _refusal(folder: Path, held: list[Any]) -> str:
    """What Envoy says against the filter that stands for these policies; nothing if it takes it."""
    mesh = Mesh(service("keys"))
    mesh.graph.apply([(JWKS_FETCHER, None, KeyFetcher.HYBRID)])
    mesh.adopt(held)
    router = HttpFilter(name="envoy.filters.http.router", typed_config=pack(Router()))
    filters = [*jwt_authn.http_filters(mesh.graph, "shop", labels_of({}), True), router]
    manager = HttpConnectionManager(stat_prefix="x", route_config=RouteConfiguration(), http_filters=filters)
    network = Filter(name="envoy.filters.network.http_connection_manager", typed_config=pack(manager))
    listener = Listener(
        name="l",
        address=Address(socket_address=SocketAddress(address="127.0.0.1", port_value=10000)),
        filter_chains=[FilterChain(filters=[network])],
    )
    config = {"static_resources": {"listeners": [to_json(LISTENER, encode(listener))]}}
    file = folder / "bootstrap.json"
    file.write_text(json.dumps(config))
    command = [*argv(find_envoy(), file, concurrency=1, log_level="critical"), "--mode", "validate"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    return "" if done.returncode == 0 else done.stderr[-600:] or f"status {done.returncode}"
