"""A mesh made of ordinary YAML, for tests: documents in, a graph with the world in its cells out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import yaml

from crds.decode import decode, kind_of
from crds.meta import ObjectKey
from dragoman.engine import Graph
from dragoman.mesh.proxies import OutboundView, View, views_of
from dragoman.mesh.proxy_id import ProxyId
from dragoman.mesh.world import World
from dragoman.sources.yaml_documents import parse, split


class Edit(NamedTuple):
    key: ObjectKey
    old: Any
    new: Any


class Mesh:
    """The world of some YAML, which `apply` and `remove` change as a source would."""

    def __init__(self, text: str = "") -> None:
        self.world = World()
        self.graph = Graph()
        self.apply(text)

    def apply(self, text: str) -> None:
        self.adopt(objects(text))

    def adopt(self, objects: Iterable[Any]) -> None:
        self._change(Edit(obj.key, self.world.objects.get(obj.key), obj) for obj in objects)

    def remove(self, kind: str, namespace: str, name: str) -> None:
        key = ObjectKey(kind, namespace, name)
        self._change([Edit(key, self.world.objects[key], None)])

    def views(self, proxy: str) -> tuple[View, ...]:
        """The views of a proxy by node id; fails for a pod that the YAML lacks."""
        id_ = ProxyId.parse(proxy)
        views = views_of(self.graph, id_.type, id_.namespace, id_.name)
        assert views, f"no pod {id_.name} in namespace {id_.namespace}"
        return views

    def outbound(self, proxy: str) -> OutboundView:
        return next(view for view in self.views(proxy) if isinstance(view, OutboundView))

    def _change(self, edits: Iterable[Edit]) -> None:
        self.graph.apply(self.world.apply(edits))


def objects(text: str) -> Iterator[Any]:
    """The objects of a multi-document YAML; kinds that no mesh reads are passed over, as sources do."""
    for document in split(text.encode()):
        value = parse(document)
        if value is not None and kind_of(value) is not None:
            yield decode(value)


def service(name: str, namespace: str = "shop", ports: str = "[{name: http, port: 80}]", **spec: Any) -> str:
    """A Service that selects `app: <name>`; keyword arguments are fields of its spec."""
    fields = {"clusterIP": "10.96.0.1", "selector": {"app": name}, **spec}
    extra = yaml.safe_dump(fields, default_flow_style=True, width=10_000).strip()[1:-1]
    return f"""
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{{extra}, ports: {ports}}}
"""


def pod(
    name: str, ip: str, namespace: str = "shop", labels: str = "", account: str = "default", extra: str = ""
) -> str:
    """A ready pod that speaks mutual TLS."""
    app = name.rsplit("-", 1)[0]
    return f"""
---
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  namespace: {namespace}
  labels: {{app: {app}, security.istio.io/tlsMode: istio{", " + labels if labels else ""}}}
spec: {{serviceAccountName: {account}, containers: [{{name: app, ports: [{{name: web, containerPort: 8080}}]}}]}}
status: {{podIP: {ip}, phase: Running{extra}}}
"""


def istio(kind: str, name: str, spec: str, namespace: str = "shop", created: str = "2026-01-01T00:00:00Z") -> str:
    """An Istio object with the given spec (YAML flow style)."""
    group = {
        "PeerAuthentication": "security.istio.io/v1",
        "AuthorizationPolicy": "security.istio.io/v1",
        "RequestAuthentication": "security.istio.io/v1",
    }.get(kind, "networking.istio.io/v1")
    return f"""
---
apiVersion: {group}
kind: {kind}
metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: "{created}"}}
spec: {spec}
"""


def mesh_settings(text: str) -> str:
    """The mesh's ConfigMap with the given YAML."""
    indented = "\n".join("    " + line for line in text.strip().splitlines())
    return f"""
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: |
{indented}
"""
