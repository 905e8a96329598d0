"""Views that some proxy has: mounted once, shared by all proxies with equal facets, dropped with the last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from itertools import islice
from typing import Any

from dragoman.engine import Call, Failure, Mount, Transaction
from dragoman.mesh.proxies import GatewayView, InboundView, OutboundView
from dragoman.mesh.proxies import View as ViewKey
from dragoman.runtime.publication import Publication
from dragoman.runtime.quarantine_store import QuarantineStore
from translators import gateways, sidecars
from xds import View

_ROOTS: Mapping[type, Callable[..., Call[Any]]] = {
    OutboundView: sidecars.outbound.call,
    InboundView: sidecars.inbound.call,
    GatewayView: gateways.gateway.call,
}


@dataclass(slots=True, eq=False)
class Mounted:
    """One view in use: its key, its tree in the engine, and the xDS view it fills."""

    key: ViewKey
    mount: Mount
    view: View
    publication: Publication = field(default_factory=Publication)
    holders: int = 0

    def take(self, leaves: Mapping[Call[Any], Any]) -> None:
        resources = self.publication.resources(leaves)
        if resources:
            self.view.apply(resources)


Failed = tuple[Mounted, Call[Any], Failure]

_PART = 500
"""Leaves of a new view that are published at a time: about two milliseconds."""


class MountedViews:
    """All views in use, by key; what was rejected of one survives it in the store."""

    def __init__(self, quarantine: QuarantineStore | None = None) -> None:
        self._quarantine = QuarantineStore() if quarantine is None else quarantine
        self._mounted: dict[ViewKey, Mounted] = {}
        self._by_mount: dict[Mount, Mounted] = {}
        self._new: set[ViewKey] = set()  # to be filled by the next publication

    def __iter__(self) -> Iterator[Mounted]:
        return iter(self._mounted.values())

    def __len__(self) -> int:
        return len(self._mounted)

    @property
    def growing(self) -> bool:
        """Whether a view waits to be filled."""
        return bool(self._new)

    def acquire(self, key: ViewKey, tx: Transaction) -> View:
        """The view of `key` for one more holder. One that nobody had yet is filled when the transaction publishes."""
        mounted = self._mounted.get(key)
        if mounted is None:
            mount = tx.mount(root_of(key))
            mounted = self._mounted[key] = Mounted(key, mount, self._view(key))
            self._by_mount[mount] = mounted
            self._new.add(key)
        mounted.holders += 1
        return mounted.view

    def _view(self, key: ViewKey) -> View:
        lasting = lasting_name_of(key)
        view = View(name_of(key), on_memory=partial(self._quarantine.remember, lasting))
        view.recall(self._quarantine.recall(lasting))
        return view

    def release(self, key: ViewKey) -> None:
        """One holder less; the last one's view is forgotten, but for what there was in doubt about it."""
        mounted = self._mounted[key]
        mounted.holders -= 1
        if not mounted.holders:
            if memory := mounted.view.memory(unjudged=True):
                self._quarantine.remember(lasting_name_of(key), memory)
            mounted.mount.close()
            del self._mounted[key], self._by_mount[mounted.mount]

    def get(self, key: ViewKey) -> Mounted:
        """The view of a key that somebody holds."""
        return self._mounted[key]

    def by_mount(self, mount: Mount) -> Mounted | None:
        """The view that a mount fills; None for a mount of another kind."""
        return self._by_mount.get(mount)

    def publish(self, changed: tuple[Mount, ...]) -> Iterator[Failed | None]:
        """Hand a finished transaction's changes to the streams; yields the leaves that began to fail.

        It also yields None now and then while it fills a view that is new: nobody follows that yet, so that others may
        have their turn in between. It must be exhausted before the next transaction runs.
        """
        for mount in changed:
            mounted = self._by_mount.get(mount)
            if mounted is None:
                continue
            leaves = mount.changes
            if mounted.key in self._new:
                listed = iter(leaves.items())
                while part := dict(islice(listed, _PART)):
                    mounted.take(part)
                    yield None
                mounted.view.filled()
            else:
                mounted.take(leaves)
            for call, value in leaves.items():
                if isinstance(value, Failure):
                    yield mounted, call, value
        self._new.clear()


def root_of(key: ViewKey) -> Call[Any]:
    """The tree of resources of a view."""
    return _ROOTS[type(key)](key)


def lasting_name_of(key: ViewKey) -> str:
    """A name that no other view has, and that is the same in every process."""
    digest = blake2b(_canonical(key).encode(), digest_size=8).hexdigest()
    return f"{name_of(key)} {digest}"


def _canonical(facet: object) -> str:
    # Sets have no order, and that of their repr differs from process to process.
    match facet:
        case frozenset():
            return "{" + ",".join(sorted(map(_canonical, facet))) + "}"
        case tuple():
            return f"{type(facet).__name__}({','.join(map(_canonical, facet))})"
        case _:
            return repr(facet)


def name_of(key: ViewKey) -> str:
    """A view's name for logs and debug pages."""
    labels = ",".join(f"{name}={value}" for name, value in sorted(key.labels))
    kind = type(key).__name__.removesuffix("View").lower()
    return f"{kind} {key.namespace}" + (f" [{labels}]" if labels else "")
