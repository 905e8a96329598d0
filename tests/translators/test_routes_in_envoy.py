"""Our route configurations in a real Envoy: it takes every one of them, and routes as Istio's rules say.

They stand inline in a listener here: Envoy's validation mode never sees what comes by RDS.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any

import pytest

from dragoman.codec import ROUTE, Encoded, to_json
from dragoman.sidecar import EnvoyProcess, SocketAddress, argv, find_envoy
from tests.support.mesh_of_yaml import Mesh
from tests.translators.golden import cases, resources
from translators.routes import route_configuration

pytestmark = pytest.mark.envoy

_EXTENSIONS = "type.googleapis.com/envoy.extensions.filters"
_FILTERS = ("fault.v3.HTTPFault", "cors.v3.Cors", "router.v3.Router")


def listener(folder: Path, name: str, routes: Mapping[str, Any]) -> dict[str, Any]:
    """A listener at a UNIX socket `folder/name` with the given routes and the filters that ours configure."""
    manager = {
        "@type": f"{_EXTENSIONS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": routes,
        "http_filters": [
            {
                "name": f"envoy.filters.http.{extension.split('.')[0]}",
                "typed_config": {"@type": f"{_EXTENSIONS}.http.{extension}"},
            }
            for extension in _FILTERS
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {"name": name, "address": {"pipe": {"path": str(folder / name)}}, "filter_chains": [chain]}


def echo(cluster: str) -> dict[str, Any]:
    """Routes that answer with what arrived, as the cluster's name and the request after rewriting."""
    said = f"{cluster} %REQ(:AUTHORITY)% %REQ(:PATH)% %REQ(X-SET)% %REQ(X-GONE)%"
    answer = {"status": 200, "body_format": {"text_format_source": {"inline_string": said}}}
    host = {"name": "echo", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "direct_response": answer}]}
    return {"virtual_hosts": [host]}


def bootstrap(folder: Path, routes: Mapping[str, Encoded], *, admin: SocketAddress | None = None) -> dict[str, Any]:
    """One listener for each route configuration, one cluster and one echo for each cluster that they name."""
    named = sorted({name for encoded in routes.values() for _, name in encoded.refs})
    listeners = [listener(folder, key, to_json(ROUTE, encoded.payload)) for key, encoded in routes.items()]
    clusters = []
    for number, name in enumerate(named):
        listeners.append(listener(folder, f"echo{number}", echo(name)))
        endpoint = {"endpoint": {"address": {"pipe": {"path": str(folder / f"echo{number}")}}}}
        assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
        clusters.append({"name": name, "type": "STATIC", "load_assignment": assignment})
    config: dict[str, Any] = {"static_resources": {"listeners": listeners, "clusters": clusters}}
    if admin is not None:
        address = {"socket_address": {"address": admin.host, "port_value": admin.port}}
        config["admin"] = {"address": address}
    return config


def test_envoy_takes_every_golden_route_configuration(tmp_path: Path) -> None:
    found = [
        encoded for case in cases("routes", "all") for encoded in resources(case.mesh(), case.proxy)["routes"].values()
    ]
    assert len(found) > 20
    routes = {str(number): encoded for number, encoded in enumerate(found)}
    file = tmp_path / "bootstrap.json"
    file.write_text(json.dumps(bootstrap(tmp_path, routes)))
    command = [*argv(find_envoy(), file, concurrency=1), "--mode", "validate"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "eprecated" not in done.stderr


SHOP = """
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: shop, labels: {app: client}}
spec: {serviceAccountName: client, containers: [{name: app}]}
status: {podIP: 10.0.0.1, phase: Running}
---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {clusterIPs: [10.96.0.1, "fd00::1"], selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: ratings, namespace: other}
spec: {clusterIP: None, selector: {app: ratings}, ports: [{name: http, port: 9080}, {name: http-web, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: opinions, namespace: other}
spec: {type: ExternalName, externalName: reviews.shop.svc.cluster.local}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: shop}
spec: {egress: [{hosts: ["*/*"]}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews]
  http:
  - {match: [{uri: {exact: /exact}}], directResponse: {status: 201}}
  - {match: [{uri: {prefix: /Folded}, ignoreUriCase: true}], directResponse: {status: 202}}
  - {match: [{uri: {regex: "/r[0-9]+"}}], directResponse: {status: 203}}
  - {match: [{headers: {x-kind: {exact: gold}}}], directResponse: {status: 204}}
  - {match: [{queryParams: {debug: {}}}], directResponse: {status: 205}}
  - match: [{uri: {prefix: /without}, withoutHeaders: {x-user: {exact: bob}}}]
    directResponse: {status: 206}
  - {match: [{uri: {prefix: /without}, withoutHeaders: {x-absent: {}}}], directResponse: {status: 207}}
  - {match: [{method: {exact: DELETE}}], directResponse: {status: 405}}
  - match: [{uri: {prefix: /old/}}]
    rewrite: {uri: /new/, authority: new.example.com}
    headers: {request: {set: {x-set: "1"}, remove: [x-gone]}}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {prefix: /service}}]
    rewrite: {uriRegexRewrite: {match: "^/service/([^/]+)(/.*)$", rewrite: '\\2/instance/\\1'}}
    route:
    - {destination: {host: reviews, subset: v1}, weight: 0}
    - {destination: {host: reviews, subset: v2}, weight: 1}
  - match: [{uri: {prefix: /fault}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    route: [{destination: {host: reviews}}]
  - {match: [{uri: {exact: /away}}], redirect: {authority: away.example.com, scheme: https, redirectCode: 308}}
  - route: [{destination: {host: reviews}}]
"""
REVIEWS = "reviews.shop.svc.cluster.local"


class Client:
    """Requests to listeners at UNIX sockets."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, at: str, host: str, path: str = "/", *, method: str = "GET", **headers: str) -> tuple[int, str]:
        """Status, and the location of a redirect or the body."""
        connection = HTTPConnection(host)
        connection.sock = socket(AF_UNIX, SOCK_STREAM)
        connection.sock.connect(str(self._folder / at))
        try:
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers={"Host": host, **fields})
            response = connection.getresponse()
            body = response.read().decode().rstrip()
            return response.status, response.headers.get("location", body)
        finally:
            connection.close()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    mesh = Mesh(SHOP)
    view = mesh.outbound("sidecar~10.0.0.1~client.shop~shop.svc.cluster.local")
    names = {"9080": "9080", "all": "http_proxy", "one": f"{REVIEWS}:9080"}
    routes = {at: route_configuration(mesh.graph, view, name) for at, name in names.items()}
    admin = SocketAddress(f"127.77.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}", 15000)
    config = bootstrap(tmp_path, routes, admin=admin)
    async with EnvoyProcess(lambda file: argv(find_envoy(), file, concurrency=1), config, tmp_path, admin) as envoy:
        await envoy.wait_live()
        yield Client(tmp_path)


async def test_a_real_envoy_routes_as_the_rules_say(client: Client) -> None:
    get = client.get
    plain = f"outbound|9080||{REVIEWS} reviews / - -"

    assert get("9080", "reviews", "/exact")[0] == 201
    assert get("9080", "reviews", "/exact/not") == (200, plain.replace(" / ", " /exact/not "))
    assert get("9080", "reviews", "/fOLDED/x")[0] == 202
    assert get("9080", "reviews", "/r12")[0] == 203
    assert get("9080", "reviews", "/r12/x")[0] == 200, "a regex matches the whole path"
    assert get("9080", "reviews", x_kind="gold")[0] == 204
    assert get("9080", "reviews", x_kind="golden")[0] == 200
    assert get("9080", "reviews", "/?debug=")[0] == 205
    assert get("9080", "reviews", "/without")[0] == 206, "a header that is absent is not the value excluded"
    assert get("9080", "reviews", "/without", x_user="bob")[0] == 207
    assert get("9080", "reviews", "/without", x_user="bob", x_absent="1")[0] == 200
    assert get("9080", "reviews", method="DELETE")[0] == 405

    rewritten = f"outbound|9080|v1|{REVIEWS} new.example.com /new/a 1 -"
    assert get("9080", "reviews", "/old/a", x_gone="here") == (200, rewritten)
    by_regex = f"outbound|9080|v2|{REVIEWS} reviews /b/instance/a - -"
    assert get("9080", "reviews", "/service/a/b") == (200, by_regex)
    assert get("9080", "reviews", "/fault")[0] == 418
    assert get("9080", "reviews", "/away") == (308, "https://away.example.com/away")


@pytest.mark.parametrize(
    ("at", "host", "wanted"),
    [
        ("9080", "reviews", f"outbound|9080||{REVIEWS}"),
        ("9080", "reviews:9080", f"outbound|9080||{REVIEWS}"),
        ("9080", "Reviews.Shop", f"outbound|9080||{REVIEWS}"),
        ("9080", f"{REVIEWS}.", f"outbound|9080||{REVIEWS}"),
        ("9080", "10.96.0.1:9080", f"outbound|9080||{REVIEWS}"),
        ("9080", "[fd00::1]:9080", f"outbound|9080||{REVIEWS}"),
        ("9080", "opinions.other", f"outbound|9080||{REVIEWS}"),
        ("9080", "opinions", None),
        ("9080", "ratings.other.svc", "outbound|9080||ratings.other.svc.cluster.local"),
        ("9080", "ratings-0.ratings.other.svc", "outbound|9080||ratings.other.svc.cluster.local"),
        ("9080", "ratings", None),
        ("all", "reviews:9080", f"outbound|9080||{REVIEWS}"),
        ("all", "reviews", None),
        ("all", "ratings.other", "outbound|80||ratings.other.svc.cluster.local"),
        ("all", "ratings.other:80", "outbound|80||ratings.other.svc.cluster.local"),
        ("all", "ratings.other:9080", "outbound|9080||ratings.other.svc.cluster.local"),
        ("one", "anything.at.all", f"outbound|9080||{REVIEWS}"),
    ],
)
async def test_a_host_leads_to_its_service_and_nowhere_else(
    client: Client, at: str, host: str, wanted: str | None
) -> None:
    status, said = client.get(at, host)
    assert (status, said.split(" ")[0]) == ((502, "") if wanted is None else (200, wanted))
