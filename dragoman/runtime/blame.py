"""Whose doing a rejected resource is: the objects behind what it has and its last good version has not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crds.meta import IstioObject, ObjectKey
from crds.registry import KINDS
from dragoman.codec import LISTENER, ROUTE, decode
from dragoman.engine import Call, Graph
from dragoman.provenance import origins, parts
from xds import Resource


@dataclass(frozen=True, slots=True)
class Origin:
    """An object that something was made from. `at` is the file and line where its author finds it, if it has any."""

    key: ObjectKey
    at: str | None = None

    def __str__(self) -> str:
        return f"{self.key} ({self.at})" if self.at else str(self.key)


@dataclass(frozen=True, slots=True)
class RejectedResource:
    """A resource that a proxy rejected. Versions are content hashes."""

    name: str
    version: str
    made_from: tuple[Origin, ...]
    """The objects to look at."""
    held_back: bool
    """Whether no proxy gets it. Else others have accepted it: only the proxy that rejected it does without."""
    served_instead: str | None
    """The last good version, which proxies get in its place; None where there is none."""


def to_blame(g: Graph, call: Call[Any], rejected: Resource, good: Resource | None) -> tuple[ObjectKey, ...]:
    """The objects that made `rejected` differ from `good`.

    A route configuration is made from all services of a port: only its virtual hosts that changed are of interest, and
    so are only the filter chains that changed of a listener. Where no such part differs, or nothing was good before,
    all objects that the resource was made from. What operators write comes before what describes the cluster.
    """
    if good is not None:
        before, after = _fragments(good), _fragments(rejected)
        changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        of_parts = parts(g, call) if changed else {}
        found = {key for name in changed for key in of_parts.get(name, ())}
        if found:
            return tuple(sorted(found, key=_rank))
    return tuple(sorted(origins(g, call), key=_rank))


def _rank(key: ObjectKey) -> tuple[bool, ObjectKey]:
    return not issubclass(KINDS[key.kind], IstioObject), key


def _fragments(resource: Resource) -> Mapping[str, Any]:
    """The parts of a resource, named as provenance names them."""
    found: defaultdict[str, list[Any]] = defaultdict(list)
    if resource.type_url in (LISTENER, ROUTE):
        message: Any = decode(resource.type_url, resource.payload)
        for host in message.virtual_hosts if resource.type_url == ROUTE else ():
            found[host.name].append(host)
        # Chains for plaintext and for TLS have one name.
        for chain in message.filter_chains if resource.type_url == LISTENER else ():
            found[chain.name or ",".join(chain.filter_chain_match.server_names)].append(chain)
    return found
