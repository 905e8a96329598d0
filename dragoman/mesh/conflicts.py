"""Which objects lose against others that say something about the same thing, and what they lose.

The same rules by which the objects are picked (`rules`, `policies`, `proxies`, `gateway_merge`), seen from the object
that was not picked: the older one wins, as everywhere. Who shadows another on purpose, by a more private `exportTo` or
a narrower selector, is in no conflict with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

from crds.destinationrule import DestinationRule
from crds.gateway import Gateway
from crds.meta import IstioObject, ObjectKey
from crds.peerauthentication import PeerAuthentication
from crds.sidecar import Sidecar
from crds.virtualservice import VirtualService
from dragoman.engine import Graph
from dragoman.mesh.exports import PUBLIC, exports
from dragoman.mesh.gateway_merge import BoundServer, merged
from dragoman.mesh.hosts import resolve
from dragoman.mesh.inputs import (
    DESTINATION_RULES,
    GATEWAYS,
    PEER_AUTHENTICATIONS,
    SIDECARS,
    VIRTUAL_SERVICES_BY_HOST,
)
from dragoman.mesh.settings import mesh_config

_MESH = "mesh"

T = TypeVar("T", bound=IstioObject)


class Conflict(NamedTuple):
    """What an object has no say in, because of an older one."""

    winner: ObjectKey
    what: str
    """Such as "host 'web.shop.svc.cluster.local'"."""


def conflicts_of(g: Graph, obj: IstioObject) -> tuple[Conflict, ...]:
    """What `obj`, which is in force, loses to others."""
    match obj:
        case VirtualService():
            found = _hosts(g, obj)
        case DestinationRule():
            found = _policies(g, obj)
        case PeerAuthentication() | Sidecar():
            found = _everything(obj, _peers(g, obj))
        case Gateway():
            found = _servers(g, obj)
        case _:
            found = iter(())
    return tuple(dict.fromkeys(found))


def rivals(g: Graph, obj: IstioObject) -> frozenset[ObjectKey]:
    """The others whose conflicts may change with `obj`, by what is in force."""
    found: set[ObjectKey] = set()
    if isinstance(obj, VirtualService):
        for host in _mesh_hosts(obj):
            found.update(other.key for other in VIRTUAL_SERVICES_BY_HOST(g, host))
    else:
        found.update(other.key for other in _peers(g, obj))
    return frozenset(found - {obj.key})


def _mesh_hosts(obj: VirtualService) -> tuple[str, ...]:
    if _MESH not in (obj.spec.gateways or (_MESH,)):
        return ()
    return tuple(dict.fromkeys(resolve(host, obj.namespace) for host in obj.spec.hosts))


def _hosts(g: Graph, obj: VirtualService) -> Iterator[Conflict]:
    default = mesh_config(g).default_virtual_service_export_to
    own = exports(obj.spec.export_to, obj.namespace, default)
    for host in _mesh_hosts(obj):
        for older in _older(obj, VIRTUAL_SERVICES_BY_HOST(g, host)):
            theirs = exports(older.spec.export_to, older.namespace, default)
            if _equally_close(own, obj.namespace, theirs, older.namespace):
                yield Conflict(older.key, f"host {host!r}")
                break


def _equally_close(one: frozenset[str], owner: str, other: frozenset[str], other_owner: str) -> bool:
    """Whether some client sees both, and neither is nearer to it (see `rules.virtual_service`)."""
    if PUBLIC in one or PUBLIC in other:
        return PUBLIC in one and PUBLIC in other
    shared = one & other
    return bool(shared) and (one == {owner}) == (other == {other_owner})


def _peers(g: Graph, obj: IstioObject) -> Iterable[IstioObject]:
    """Objects, with `obj` among them, of which one is picked for the same workloads or clients; oldest first."""
    match obj:
        case DestinationRule():
            listed = DESTINATION_RULES(g, (obj.namespace, resolve(obj.spec.host, obj.namespace)))
            selected = obj.spec.workload_selector and obj.spec.workload_selector.match_labels
            return [
                rule
                for rule in listed
                if (rule.spec.workload_selector and rule.spec.workload_selector.match_labels) == selected
            ]
        case PeerAuthentication():
            labels = _selected(obj)
            return [other for other in PEER_AUTHENTICATIONS(g, obj.namespace) if _selected(other) == labels]
        case Sidecar():
            chosen = obj.spec.workload_selector.labels if obj.spec.workload_selector is not None else {}
            return [
                other
                for other in SIDECARS(g, obj.namespace)
                if (other.spec.workload_selector.labels if other.spec.workload_selector is not None else {}) == chosen
            ]
        case Gateway():
            return [other for other in GATEWAYS(g, None) if other.spec.selector == obj.spec.selector]
        case _:
            return []


def _selected(policy: PeerAuthentication) -> dict[str, str]:
    return policy.spec.selector.match_labels if policy.spec.selector is not None else {}


def _older(obj: IstioObject, listed: Iterable[T]) -> Iterator[T]:
    for other in listed:
        if other.key == obj.key:
            return
        yield other


def _everything(obj: IstioObject, peers: Iterable[IstioObject]) -> Iterator[Conflict]:
    """Of several for the same workloads only the oldest counts."""
    for winner in _older(obj, peers):
        yield Conflict(winner.key, "all workloads that it selects")
        return


def _policies(g: Graph, obj: DestinationRule) -> Iterator[Conflict]:
    """Subsets of one name, and traffic policies beside one another (see `rules.merged_rule`).

    Whatever they export: rules of one namespace meet at least there.
    """
    taken: dict[str, ObjectKey] = {}
    policy: ObjectKey | None = None
    for older in _older(obj, _peers(g, obj)):
        if not isinstance(older, DestinationRule):
            continue
        for subset in older.spec.subsets:
            taken.setdefault(subset.name, older.key)
        if policy is None and older.spec.traffic_policy is not None:
            policy = older.key
    if policy is not None and obj.spec.traffic_policy is not None:
        yield Conflict(policy, f"traffic policy of host {obj.spec.host!r}")
    for subset in obj.spec.subsets:
        if subset.name in taken:
            yield Conflict(taken[subset.name], f"subset {subset.name!r} of host {obj.spec.host!r}")


def _servers(g: Graph, obj: Gateway) -> Iterator[Conflict]:
    """Servers that an older Gateway with the same selector leaves no room for."""
    bound = [
        BoundServer(
            f"{gateway.namespace}/{gateway.name}",
            server.port.number,
            server.port.number,
            server.bind or "0.0.0.0",  # noqa: S104 - a gateway is there to be reached
            server,
        )
        for gateway in _peers(g, obj)
        if isinstance(gateway, Gateway)
        for server in gateway.spec.servers
    ]
    for refusal in merged(bound).refused:
        if (refusal.server.namespace, refusal.server.name) == (obj.namespace, obj.name):
            winner = ObjectKey("Gateway", refusal.older.namespace, refusal.older.name)
            yield Conflict(winner, f"server {refusal.server.server.port.name!r}: {refusal.reason}")
