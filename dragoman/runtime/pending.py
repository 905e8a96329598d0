"""What a change of an object has to bring about at the proxies that use it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, Ref
from dragoman.engine import Call
from dragoman.runtime.programmed import Programmed
from dragoman.runtime.publication import Publication
from xds import View
from xds.acceptance import clients_of, lacks
from xds.client import Client
from xds.delivery import NOTHING

Versions = set[str] | None
"""Versions of a resource that bring the change; `NOTHING` if it is to be gone. None for any but nothing."""


@dataclass(slots=True, eq=False)
class Pending:
    """An object on its way."""

    views: set[View]
    """Those with resources that were made from it."""
    targets: dict[View, dict[str, dict[str, Versions]]] = field(default_factory=dict)
    """By type and name."""
    awaited: dict[View, dict[str, set[str]]] = field(default_factory=dict)
    """Names that clients ask for once they have taken other targets."""
    failing: dict[Call[Any], Publication] = field(default_factory=dict)
    """Resources that could not be made."""
    accepted: dict[View, set[Client]] = field(default_factory=lambda: defaultdict(set))
    """Clients that are known to have it: they are not asked again."""
    said: Programmed | None = None
    """What was told of it last."""

    def expect(self, view: View, ref: Ref, versions: Versions) -> None:
        """A resource has to arrive."""
        self.views.add(view)
        self.targets.setdefault(view, {}).setdefault(ref[0], {})[ref[1]] = versions
        self.accepted.pop(view, None)

    def expect_current(self, view: View, ref: Ref) -> None:
        """What is wanted of a resource now has to arrive; of those that went, the removal of a listener."""
        wanted = view.wanted(ref)
        if wanted is not None:
            self.expect(view, ref, {wanted.version})
        elif ref[0] == LISTENER:
            self.expect(view, ref, {NOTHING})

    def versions(self, view: View, ref: Ref) -> tuple[bool, Versions]:
        """Whether a resource has to arrive, and in which version."""
        names = self.targets.get(view, {}).get(ref[0], {})
        return ref[1] in names, names.get(ref[1])

    def refer(self) -> None:
        """Clients that take clusters or listeners ask for what they refer to, and use them only then."""
        for view, types in self.targets.items():
            for type_url in (CLUSTER, LISTENER):
                for name in types.get(type_url, ()):
                    wanted = view.wanted((type_url, name))
                    for kind, needed in wanted.refs if wanted is not None else ():
                        if kind in (ROUTE, ENDPOINT) and view.get((kind, needed)) is not None:
                            self.awaited.setdefault(view, {}).setdefault(kind, set()).add(needed)

    def let_go(self, view: View) -> None:
        """No proxy has a view any more."""
        self.views.discard(view)
        self.targets.pop(view, None)
        self.awaited.pop(view, None)
        self.accepted.pop(view, None)

    def users(self) -> tuple[set[Client], set[Client]]:
        """The clients that use the object, and those of them that have yet to accept it."""
        using: set[Client] = set()
        lacking: set[Client] = set()
        for view in self.views:
            clients = set(clients_of(view))
            using |= clients
            if view not in self.targets:
                continue
            if not self._is_served(view):
                # Who is in sync has what there was before.
                lacking |= clients
                continue
            accepted = self.accepted[view] = self.accepted[view] & clients
            targets, awaited = self.targets[view], self.awaited.get(view, {})
            for client in clients - accepted:
                (lacking if lacks(client, targets, awaited) else accepted).add(client)
        return using, lacking

    def failures(self) -> tuple[str, ...]:
        """Why resources cannot be made, as long as they cannot."""
        failing = (publication.failures.get(call) for call, publication in self.failing.items())
        return tuple(sorted({str(failure.error) for failure in failing if failure is not None}))

    def _is_served(self, view: View) -> bool:
        """Whether what a view serves brings the change: a version that was rejected is not served."""
        for type_url, names in self.targets[view].items():
            table = view.table(type_url)
            for name, versions in names.items():
                served = table.get(name)
                if versions is not None and (NOTHING if served is None else served.version) not in versions:
                    return False
        return True
