"""The mesh without a server: a folder of YAML in, a proxy's resources out.

The same world, queries and translators as the control plane; only streams are missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crds.meta import ObjectKey
from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, Encoded, to_json
from dragoman.engine import Call, Failure, Graph
from dragoman.mesh.credential_uses import credentials_of, credentials_view
from dragoman.mesh.proxies import View, views_of
from dragoman.mesh.proxy_id import ProxyId
from dragoman.mesh.request_authentications import KeySource, key_uses
from dragoman.mesh.world import World
from dragoman.provenance import origins, parts
from dragoman.runtime.mounted_views import root_of
from dragoman.sources.change import Report
from dragoman.sources.files import FileSource
from translators.names import ROOT_CERTIFICATES, WORKLOAD_CERTIFICATE

_SECTIONS = {"listeners": LISTENER, "clusters": CLUSTER, "routes": ROUTE, "endpoints": ENDPOINT}
_PARTS = {LISTENER: "filterChains", ROUTE: "virtualHosts", ENDPOINT: "endpoints"}


class UnknownPodError(LookupError):
    """No Pod object with an address stands behind a node id."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """A loaded folder."""

    graph: Graph
    world: World
    reports: tuple[Report, ...]


def load(folder: Path) -> Mesh:
    """Read a folder; problems are in `reports`, and what is good is in force."""
    batch = FileSource(folder).load()
    graph, world = Graph(), World()
    graph.apply(world.apply(batch.changes))
    return Mesh(graph, world, batch.reports)


def views(mesh: Mesh, proxy: ProxyId) -> tuple[View, ...]:
    """The views of a proxy; raises `UnknownPodError`."""
    found = views_of(mesh.graph, proxy.type, proxy.namespace, proxy.name)
    if not found:
        raise UnknownPodError(
            f"no pod {proxy.namespace}/{proxy.name} with an address is known: is its Pod object in the folder?"
        )
    return found


def resources(mesh: Mesh, proxy: ProxyId) -> dict[Call[Any], Encoded | Failure]:
    """Every resource of a proxy by the call that makes it, failures included; raises `UnknownPodError`."""
    found: dict[Call[Any], Encoded | Failure] = {}
    for view in views(mesh, proxy):
        mount = mesh.graph.mount(root_of(view))
        found |= {c: value for c, value in mount.leaves().items() if isinstance(value, Encoded | Failure)}
        mount.close()
    return found


def unfetched(mesh: Mesh) -> tuple[KeySource, ...]:
    """The keys of token issuers that a server would fetch: here nothing is, and no token of theirs would be taken."""
    return tuple(use.source for use in key_uses(mesh.graph))


def translated(mesh: Mesh, proxy: ProxyId, *, provenance: bool = False) -> dict[str, Any]:
    """One object with the proxy's listeners, clusters, routes, endpoints (canonical JSON) and names of secrets.

    A resource that fails stands under `failures`. With `provenance`, each resource has the objects it was made from
    under the key `provenance` of the result, by section and name, and so has each virtual host, filter chain and
    endpoint. Raises `UnknownPodError`.
    """
    found = resources(mesh, proxy)
    encoded = [(call, value) for call, value in found.items() if isinstance(value, Encoded)]
    document: dict[str, Any] = {
        section: [
            to_json(value.type_url, value.payload)
            for _, value in sorted(encoded, key=lambda pair: pair[1].name)
            if value.type_url == type_url
        ]
        for section, type_url in _SECTIONS.items()
    }
    document["secrets"] = _secrets(mesh, proxy)
    failures = {str(call): str(value.error) for call, value in found.items() if isinstance(value, Failure)}
    if failures:
        document["failures"] = failures
    if provenance:
        document["provenance"] = {
            section: {
                value.name: _made_from(mesh.graph, call, value)
                for call, value in sorted(encoded, key=lambda pair: pair[1].name)
                if value.type_url == type_url
            }
            for section, type_url in _SECTIONS.items()
        }
    return document


def _made_from(g: Graph, call: Call[Any], value: Encoded) -> dict[str, Any]:
    found: dict[str, Any] = {"objects": _shown(origins(g, call))}
    named = parts(g, call)
    if named:
        found[_PARTS[value.type_url]] = {name: _shown(made_from) for name, made_from in named.items()}
    return found


def _secrets(mesh: Mesh, proxy: ProxyId) -> list[str]:
    names = [WORKLOAD_CERTIFICATE, ROOT_CERTIFICATES]
    view = credentials_view(mesh.graph, proxy.type, proxy.namespace, proxy.name)
    if view is not None:
        names += dict.fromkeys(use.name for use in credentials_of(mesh.graph, view))
    return names


def _shown(objects: Iterable[ObjectKey]) -> list[str]:
    return [str(key) for key in objects]
