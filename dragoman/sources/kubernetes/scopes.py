"""What one reflector follows, and how much of a kind to follow for the sake of some of its objects. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from crds.meta import ObjectKey
from dragoman.kube import ApiResource
from dragoman.sources.kubernetes.reflector import Name

AT_MOST: Final = 64
"""Watches for the objects of a kind that are named one by one: each is a connection to the API server."""


class Scope(NamedTuple):
    """All objects of a resource, those of a namespace, or one."""

    resource: ApiResource
    namespace: str = ""
    name: str = ""

    @property
    def path(self) -> str:
        return self.resource.path(self.namespace or None)

    @property
    def selector(self) -> str:
        """As a field selector."""
        return f"metadata.name={self.name}" if self.name else ""

    def covers(self, name: Name) -> bool:
        """Whether an object of this resource's kind belongs to it."""
        return self.namespace in ("", name[0]) and self.name in ("", name[1])

    def __str__(self) -> str:
        of = "/".join(part for part in (self.namespace, self.name) if part)
        return f"{self.resource} {of}" if of else str(self.resource)


def narrowest(resource: ApiResource, keys: Iterable[ObjectKey], at_most: int = AT_MOST) -> Iterator[Scope]:
    """The scopes that cover some objects of a resource: each by itself while they are few, else whole namespaces, else
    all there are. Rights may be as narrow as the names are."""
    of_namespace: defaultdict[str, set[str]] = defaultdict(set)
    for key in keys:
        of_namespace[key.namespace].add(key.name)
    if sum(map(len, of_namespace.values())) <= at_most:
        for namespace, names in of_namespace.items():
            for name in names:
                yield Scope(resource, namespace, name)
    elif resource.namespaced and len(of_namespace) <= at_most:
        for namespace in of_namespace:
            yield Scope(resource, namespace)
    else:
        yield Scope(resource)
