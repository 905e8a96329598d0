"""The world: objects in, cell values out.

Each kind has a function that says in which cells an object stands and as what. `World.apply` turns a batch of changes
into the new values of just the cells concerned; the runtime puts them into one engine transaction. The world knows no
domain rule beyond "who looks this object up by what".
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from crds.authorizationpolicy import AuthorizationPolicy
from crds.destinationrule import DestinationRule
from crds.gateway import Gateway
from crds.kubernetes.configmap import ConfigMap
from crds.kubernetes.endpoints import Endpoints
from crds.kubernetes.endpointslice import EndpointSlice
from crds.kubernetes.namespace import Namespace
from crds.kubernetes.node import Node
from crds.kubernetes.pod import Pod
from crds.kubernetes.service import Service
from crds.meshconfig import CONFIG_KEY, CONFIG_MAP
from crds.meta import IstioObject, ObjectKey, age_order
from crds.peerauthentication import PeerAuthentication
from crds.requestauthentication import RequestAuthentication
from crds.sidecar import Sidecar
from crds.virtualservice import VirtualService
from dragoman.engine import Input
from dragoman.mesh import inputs
from dragoman.mesh.credentials import uses_of
from dragoman.mesh.hosts import resolve

MESH_GATEWAY = "mesh"
"""The reserved gateway name that stands for all sidecars (Istio API: VirtualService.gateways)."""

Cell = tuple[Input[Any, Any], Hashable]
Move = tuple[Any, bool]
"""An item that comes to stand in a cell (True) or leaves it."""


class Fold(Protocol):
    """What a cell holds after `moves`, given what it held `before`: the effect of a change costs the change alone."""

    def __call__(self, before: Any, moves: Iterable[Move]) -> Any: ...


class Placement(NamedTuple):
    """An object's part in one cell: `item` is folded with the items of the other objects that stand there."""

    input: Input[Any, Any]
    key: Hashable
    item: Any
    fold: Fold


class Changed(Protocol):
    """A change as the sources report it: the object before and after, None where it was or is absent."""

    @property
    def key(self) -> ObjectKey: ...
    @property
    def old(self) -> Any: ...
    @property
    def new(self) -> Any: ...


def _only(before: Any, moves: Iterable[Move]) -> Any:
    """A cell of one object."""
    for item, comes in moves:
        before = item if comes else None
    return before


def _oldest_first(before: tuple[Any, ...], moves: Iterable[Move]) -> tuple[Any, ...]:
    """Objects in Istio's order."""
    standing = {obj.key: obj for obj in before}
    for obj, comes in moves:
        if comes:
            standing[obj.key] = obj
        else:
            standing.pop(obj.key, None)
    return tuple(sorted(standing.values(), key=age_order))


def _names(before: tuple[Any, ...], moves: Iterable[Move]) -> tuple[Any, ...]:
    """Names that are one object's each."""
    standing = set(before)
    for name, comes in moves:
        (standing.add if comes else standing.discard)(name)
    return tuple(sorted(standing))


def _union(before: Counter[Any], moves: Iterable[Move]) -> Counter[Any]:
    """Names that several objects may give, counted until the cell is read."""
    for names, comes in moves:
        before.update(names) if comes else before.subtract(names)
    return +before


def _service(service: Service) -> Iterator[Placement]:
    namespace, name = service.metadata.namespace, service.metadata.name
    yield Placement(inputs.SERVICES, (namespace, name), service, _only)
    yield Placement(inputs.SERVICE_NAMES, namespace, name, _names)
    yield Placement(inputs.SERVICE_NAMESPACES, None, (namespace,), _union)
    if service.spec.type == "ExternalName" and service.spec.external_name:
        target = resolve(service.spec.external_name, namespace)
        yield Placement(inputs.EXTERNAL_NAMES, target, (namespace, name), _names)


def _endpoint_slice(piece: EndpointSlice) -> Iterator[Placement]:
    service = (piece.metadata.labels or {}).get("kubernetes.io/service-name")
    if service:
        yield Placement(inputs.ENDPOINT_SLICES, (piece.metadata.namespace, service), piece, _oldest_first)


def _endpoints(endpoints: Endpoints) -> Iterator[Placement]:
    yield Placement(inputs.ENDPOINTS, (endpoints.metadata.namespace, endpoints.metadata.name), endpoints, _only)


def _pod(pod: Pod) -> Iterator[Placement]:
    namespace, name = pod.metadata.namespace, pod.metadata.name
    yield Placement(inputs.PODS, (namespace, name), pod, _only)
    for key, value in pod.metadata.labels.items():
        yield Placement(inputs.PODS_BY_LABEL, (namespace, key, value), name, _names)


def _virtual_service(virtual_service: VirtualService) -> Iterator[Placement]:
    namespace = virtual_service.namespace
    spec = virtual_service.spec
    for gateway in spec.gateways or (MESH_GATEWAY,):
        if gateway == MESH_GATEWAY:
            hosts = tuple(dict.fromkeys(resolve(host, namespace) for host in spec.hosts))
            for host in hosts:
                yield Placement(inputs.VIRTUAL_SERVICES_BY_HOST, host, virtual_service, _oldest_first)
            yield Placement(inputs.VIRTUAL_SERVICE_HOSTS, namespace, hosts, _union)
            yield Placement(inputs.VIRTUAL_SERVICE_NAMESPACES, None, (namespace,), _union)
        else:
            name = gateway if "/" in gateway else f"{namespace}/{gateway}"
            yield Placement(inputs.VIRTUAL_SERVICES_BY_GATEWAY, name, virtual_service, _oldest_first)
    keys = {key for route in spec.http for match in route.match for key in match.source_labels}
    keys |= {key for route in spec.tcp for match in route.match for key in match.source_labels}
    keys |= {key for route in spec.tls for match in route.match for key in match.source_labels}
    if keys:
        yield Placement(inputs.SOURCE_LABEL_KEYS, None, tuple(keys), _union)


def _destination_rule(rule: DestinationRule) -> Iterator[Placement]:
    namespace = rule.metadata.namespace
    host = resolve(rule.spec.host, namespace)
    yield Placement(inputs.DESTINATION_RULES, (namespace, host), rule, _oldest_first)
    yield Placement(inputs.DESTINATION_RULE_HOSTS, namespace, (host,), _union)
    if any(uses_of(rule)):
        yield Placement(inputs.DESTINATION_RULES_WITH_CREDENTIALS, None, rule, _oldest_first)
    if rule.spec.workload_selector is not None:
        keys = tuple(rule.spec.workload_selector.match_labels)
        yield Placement(inputs.DESTINATION_RULE_LABEL_KEYS, namespace, keys, _union)


def _gateway(gateway: Gateway) -> Iterator[Placement]:
    yield Placement(inputs.GATEWAYS, None, gateway, _oldest_first)


def _request_authentication(policy: RequestAuthentication) -> Iterator[Placement]:
    yield Placement(inputs.REQUEST_AUTHENTICATIONS, policy.namespace, policy, _oldest_first)
    yield Placement(inputs.REQUEST_AUTHENTICATION_NAMESPACES, None, (policy.namespace,), _union)


def _config_map(config_map: ConfigMap) -> Iterator[Placement]:
    if (config_map.namespace, config_map.name) == CONFIG_MAP and CONFIG_KEY in config_map.data:
        yield Placement(inputs.MESH_CONFIG_MAP, None, config_map, _only)


def _of_namespace(of: Input[Any, Any]) -> Callable[[Any], Iterator[Placement]]:
    def place(obj: Any) -> Iterator[Placement]:
        yield Placement(of, obj.metadata.namespace, obj, _oldest_first)

    return place


def _by_name(of: Input[Any, Any]) -> Callable[[Any], Iterator[Placement]]:
    def place(obj: Any) -> Iterator[Placement]:
        yield Placement(of, obj.metadata.name, obj, _only)

    return place


_PLACES: Mapping[type, Callable[[Any], Iterator[Placement]]] = {
    Service: _service,
    EndpointSlice: _endpoint_slice,
    Endpoints: _endpoints,
    Pod: _pod,
    Namespace: _by_name(inputs.NAMESPACES),
    Node: _by_name(inputs.NODES),
    ConfigMap: _config_map,
    VirtualService: _virtual_service,
    DestinationRule: _destination_rule,
    Gateway: _gateway,
    Sidecar: _of_namespace(inputs.SIDECARS),
    PeerAuthentication: _of_namespace(inputs.PEER_AUTHENTICATIONS),
    AuthorizationPolicy: _of_namespace(inputs.AUTHORIZATION_POLICIES),
    RequestAuthentication: _request_authentication,
}


class World:
    """Every object in force, by key, and what stands in the cells."""

    __slots__ = ("_standing", "objects")

    def __init__(self) -> None:
        self.objects: dict[ObjectKey, Any] = {}
        # What is folded on: a cell of one object needs no memory of what it held.
        self._standing: defaultdict[Input[Any, Any], dict[Hashable, Any]] = defaultdict(dict)

    def apply(self, changes: Iterable[Changed]) -> list[tuple[Input[Any, Any], Hashable, Any]]:
        """Take the changes in and return the new values of the cells they touch.

        Several changes of one object are taken in their order. Kinds that no query looks up only enter `objects`.
        """
        touched: dict[Cell, tuple[Fold, list[Move]]] = {}
        for change in changes:
            before = _places(self.objects.pop(change.key, None))
            if change.new is not None:
                self.objects[change.key] = change.new
            now = _places(change.new)
            for places, others, comes in ((before, now, False), (now, before, True)):
                for cell, place in places.items():
                    other = others.get(cell)
                    if other is None or other.item != place.item:
                        touched.setdefault(cell, (place.fold, []))[1].append((place.item, comes))
        return [(*cell, self._folded(cell, fold, moves)) for cell, (fold, moves) in touched.items()]

    def _folded(self, cell: Cell, fold: Fold, moves: list[Move]) -> Any:
        of, key = cell
        if fold is _only:
            return fold(None, moves)
        standing = self._standing[of]
        before = standing.pop(key, None)
        if before is None:
            before = Counter() if fold is _union else of.default
        now = fold(before, moves)
        if now:
            standing[key] = now
        return tuple(sorted(now)) if fold is _union else now


def _places(obj: Any) -> Mapping[Cell, Placement]:
    places = _PLACES.get(type(obj))
    if places is None:
        return {}
    itself = (Placement(inputs.OBJECTS, obj.key, obj, _only),) if isinstance(obj, IstioObject) else ()
    return {(place.input, place.key): place for place in (*itself, *places(obj))}
