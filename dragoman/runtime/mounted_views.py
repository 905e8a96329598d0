"""Views that some proxy has: mounted once, shared by all proxies with equal facets, dropped with the last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dragoman.engine import Call, Failure, Mount, Transaction
from dragoman.mesh.proxies import GatewayView, InboundView, OutboundView
from dragoman.mesh.proxies import View as ViewKey
from dragoman.runtime.publication import Publication
from translators import gateways, sidecars
from xds import View

_ROOTS: Mapping[type, Callable[..., Call[Any]]] = {
    OutboundView: sidecars.outbound.call,
    InboundView: sidecars.inbound.call,
    GatewayView: gateways.gateway.call,
}


@dataclass(slots=True)
class Mounted:
    """One view in use: its key, its tree in the engine, and the xDS view it fills."""

    key: ViewKey
    mount: Mount
    view: View
    publication: Publication = field(default_factory=Publication)
    holders: int = 0


class MountedViews:
    """All views in use, by key."""

    def __init__(self) -> None:
        self._mounted: dict[ViewKey, Mounted] = {}
        self._by_mount: dict[Mount, Mounted] = {}

    def __iter__(self) -> Iterator[Mounted]:
        return iter(self._mounted.values())

    def __len__(self) -> int:
        return len(self._mounted)

    def acquire(self, key: ViewKey, tx: Transaction) -> View:
        """The view of `key` for one more holder. One that nobody had yet is filled when the transaction publishes."""
        mounted = self._mounted.get(key)
        if mounted is None:
            mount = tx.mount(root_of(key))
            mounted = self._mounted[key] = Mounted(key, mount, View(name_of(key)))
            self._by_mount[mount] = mounted
        mounted.holders += 1
        return mounted.view

    def release(self, key: ViewKey) -> None:
        """One holder less; the last one's view is forgotten."""
        mounted = self._mounted[key]
        mounted.holders -= 1
        if not mounted.holders:
            mounted.mount.close()
            del self._mounted[key], self._by_mount[mounted.mount]

    def get(self, key: ViewKey) -> Mounted:
        """The view of a key that somebody holds."""
        return self._mounted[key]

    def publish(self, changed: tuple[Mount, ...]) -> list[tuple[Mounted, Call[Any], Failure]]:
        """Hand a finished transaction's changes to the streams; returns the leaves that began to fail."""
        failures = []
        for mount in changed:
            mounted = self._by_mount.get(mount)
            if mounted is None:
                continue
            failures += [(mounted, call, value) for call, value in mount.changes.items() if isinstance(value, Failure)]
            resources = mounted.publication.resources(mount.changes)
            if resources:
                mounted.view.apply(resources)
        return failures


def root_of(key: ViewKey) -> Call[Any]:
    """The tree of resources of a view."""
    return _ROOTS[type(key)](key)


def name_of(key: ViewKey) -> str:
    """A view's name for logs and debug pages."""
    labels = ",".join(f"{name}={value}" for name, value in sorted(key.labels))
    kind = type(key).__name__.removesuffix("View").lower()
    return f"{kind} {key.namespace}" + (f" [{labels}]" if labels else "")
