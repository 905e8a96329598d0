"""The Secrets, ConfigMaps and ClusterTrustBundles that objects refer to: of these kinds no others are read.

Which credential a name means depends on the namespace of the proxy that asks (Istio: pilot/pkg/model/credentials).
What is referred to is known before any proxy asks, so that none is told of a lack that is only ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeVar, cast

from crds.destinationrule import DestinationRule
from crds.gateway import Gateway
from crds.kubernetes.pod import Pod
from crds.meta import ObjectKey
from dragoman.mesh.credentials import holders, names_of_server, uses_of
from dragoman.sources.change import Change

Selector = frozenset[tuple[str, str]]

_ANY: Final[Selector] = frozenset()
_Kept = TypeVar("_Kept")


class References:
    """Follows changes of objects and says which others they refer to."""

    def __init__(self) -> None:
        self._gateways: dict[ObjectKey, Gateway] = {}
        self._rules: dict[ObjectKey, DestinationRule] = {}
        self._namespaces: dict[Selector, Counter[str]] = {}
        """How many pods a gateway's selector matches, by their namespace."""
        self._keys: frozenset[ObjectKey] = frozenset()

    @property
    def keys(self) -> frozenset[ObjectKey]:
        """What is referred to now. Some of it may not exist."""
        return self._keys

    def follow(self, changes: Iterable[Change], objects: Mapping[ObjectKey, object]) -> None:
        """Take changes in; `objects` are those in force, with the changes."""
        stale = False
        for change in changes:
            match change.key.kind:
                case "Gateway":
                    stale |= _keep(self._gateways, change.key, cast("Gateway | None", change.new))
                case "DestinationRule":
                    rule = cast("DestinationRule | None", change.new)
                    stale |= _keep(self._rules, change.key, rule if rule is not None and any(uses_of(rule)) else None)
                case "Pod":
                    stale |= self._pod(change.old, change.new)
        if stale:
            self._select(objects)
            self._keys = frozenset(self._found())

    def _pod(self, old: object, new: object) -> bool:
        """Whether gateways came to a namespace, or the last one went from it."""
        moved = False
        for selector, namespaces in self._namespaces.items():
            for pod, step in ((old, -1), (new, 1)):
                if isinstance(pod, Pod) and selector <= pod.metadata.labels.items():
                    before = namespaces[pod.namespace]
                    namespaces[pod.namespace] = before + step
                    moved |= not before or not before + step
        return moved

    def _select(self, objects: Mapping[ObjectKey, object]) -> None:
        """Count the pods of selectors that are new."""
        selectors = {_selector(gateway) for gateway in self._gateways.values()} - {_ANY}
        for selector in self._namespaces.keys() - selectors:
            del self._namespaces[selector]
        if new := selectors - self._namespaces.keys():
            pods = [obj for obj in objects.values() if isinstance(obj, Pod)]
            for selector in new:
                self._namespaces[selector] = Counter(
                    pod.namespace for pod in pods if selector <= pod.metadata.labels.items()
                )

    def _found(self) -> Iterator[ObjectKey]:
        of = {
            selector: {name for name, n in counted.items() if n > 0} for selector, counted in self._namespaces.items()
        }
        everywhere = frozenset[str]().union(*of.values())
        for gateway in self._gateways.values():
            # One that picks every gateway says nothing of where gateways are.
            namespaces = of.get(_selector(gateway), everywhere | {gateway.namespace})
            for server in gateway.spec.servers:
                if server.tls is not None:
                    for _, name in names_of_server(server.tls):
                        for namespace in namespaces:
                            yield from holders(name, namespace)
        for rule in self._rules.values():
            for use in uses_of(rule):
                for namespace in everywhere | {rule.namespace}:
                    yield from holders(use.name, namespace)


def _keep(known: dict[ObjectKey, _Kept], key: ObjectKey, new: _Kept | None) -> bool:
    """Keep what a change leaves; whether that is news."""
    if new is None:
        return known.pop(key, None) is not None
    known[key] = new
    return True


def _selector(gateway: Gateway) -> Selector:
    return frozenset(gateway.spec.selector.items())
