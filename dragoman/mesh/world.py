"""The world: objects in, cell values out.

Each kind has a function that says in which cells an object stands and as what. `World.apply` turns a batch of changes
into the new values of just the cells concerned; the runtime puts them into one engine transaction. The world knows no
domain rule beyond "who looks this object up by what".
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from operator import attrgetter
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
from crds.sidecar import Sidecar
from crds.virtualservice import VirtualService
from dragoman.engine import Input
from dragoman.mesh import inputs
from dragoman.mesh.hosts import resolve

MESH_GATEWAY = "mesh"
"""The reserved gateway name that stands for all sidecars (Istio API: VirtualService.gateways)."""

Fold = Callable[[Iterable[Any]], Any]
Cell = tuple[Input[Any, Any], Hashable]


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


def _only(items: Iterable[Any]) -> Any:
    return next(iter(items))


def _oldest_first(items: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(sorted(items, key=age_order))


def _names(items: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(sorted(set(items)))


def _union(items: Iterable[Iterable[Any]]) -> tuple[Any, ...]:
    return tuple(sorted({name for item in items for name in item}))


def _service(service: Service) -> Iterator[Placement]:
    namespace, name = service.metadata.namespace, service.metadata.name
    yield Placement(inputs.SERVICES, (namespace, name), service, _only)
    yield Placement(inputs.SERVICE_NAMES, namespace, name, _names)
    yield Placement(inputs.SERVICE_NAMESPACES, None, namespace, _names)
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
            yield Placement(inputs.VIRTUAL_SERVICE_NAMESPACES, None, namespace, _names)
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
    yield Placement(inputs.DESTINATION_RULES, (namespace, resolve(rule.spec.host, namespace)), rule, _oldest_first)
    if rule.spec.workload_selector is not None:
        keys = tuple(rule.spec.workload_selector.match_labels)
        yield Placement(inputs.DESTINATION_RULE_LABEL_KEYS, namespace, keys, _union)


def _gateway(gateway: Gateway) -> Iterator[Placement]:
    yield Placement(inputs.GATEWAYS, None, gateway, _oldest_first)


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
}


class World:
    """Every object in force, by key, and who stands in which cell."""

    __slots__ = ("_cells", "objects")

    def __init__(self) -> None:
        self.objects: dict[ObjectKey, Any] = {}
        self._cells: dict[Cell, dict[ObjectKey, Placement]] = {}

    def apply(self, changes: Iterable[Changed]) -> list[tuple[Input[Any, Any], Hashable, Any]]:
        """Take the changes in and return the new values of the cells they touch.

        Several changes of one object are taken in their order. Kinds that no query looks up only enter `objects`.
        """
        touched: dict[Cell, None] = {}
        for change in changes:
            known = self.objects.pop(change.key, None)
            if known is not None:
                for place in self._places(known):
                    cell = (place.input, place.key)
                    self._cells[cell].pop(change.key, None)
                    touched[cell] = None
            if change.new is not None:
                self.objects[change.key] = change.new
                for place in self._places(change.new):
                    cell = (place.input, place.key)
                    self._cells.setdefault(cell, {})[change.key] = place
                    touched[cell] = None
        return [(*cell, self._value(cell)) for cell in touched]

    def _places(self, obj: Any) -> Iterable[Placement]:
        places = _PLACES.get(type(obj))
        if places is None:
            return ()
        itself = (Placement(inputs.OBJECTS, obj.key, obj, _only),) if isinstance(obj, IstioObject) else ()
        return (*itself, *places(obj))

    def _value(self, cell: Cell) -> Any:
        placements = self._cells[cell]
        if not placements:
            del self._cells[cell]
            return cell[0].default
        fold = next(iter(placements.values())).fold
        return fold(map(attrgetter("item"), placements.values()))
