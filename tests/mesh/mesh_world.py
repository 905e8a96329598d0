"""A mesh from YAML, for tests: objects in, queries answer."""

from __future__ import annotations

from typing import Any

import yaml

from crds.decode import decode
from crds.meta import ObjectKey
from dragoman.engine import Graph
from dragoman.mesh.world import World
from dragoman.sources.change import Change


class MeshWorld:
    """A graph and the world that feeds it."""

    def __init__(self, text: str = "") -> None:
        self.graph = Graph()
        self.world = World()
        self.apply(text)

    def apply(self, text: str) -> None:
        """Add or replace the objects of a YAML text."""
        objects: list[Any] = [decode(document) for document in yaml.safe_load_all(text) if document]
        changes = [Change(obj.key, self.world.objects.get(obj.key), obj) for obj in objects]
        self.graph.apply(self.world.apply(changes))

    def delete(self, kind: str, namespace: str, name: str) -> None:
        key = ObjectKey(kind, namespace, name)
        self.graph.apply(self.world.apply([Change(key, self.world.objects[key], None)]))


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
