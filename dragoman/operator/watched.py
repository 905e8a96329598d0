"""The objects of one resource as they are now, for duties that keep them as they should be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

import msgspec

from dragoman.kube import ApiError, ApiResource, Cluster
from dragoman.sources.kubernetes.following import follow
from dragoman.sources.kubernetes.reflector import Delta, Name, Reflector


class Watched:
    """Documents by namespace and name, followed by `run`; `on_change` is told of each that came, changed or went.

    `read` reduces a document to what is of interest, so that no more of it stays in memory.
    """

    def __init__(
        self,
        resource: ApiResource,
        on_change: Callable[[Name], None],
        *,
        name: str = "",
        namespace: str | None = None,
        read: Callable[[dict[str, Any]], Any] = lambda document: document,
    ) -> None:
        """`name` is for objects of that name only, `namespace` for those of one namespace."""
        self._path = resource.path(namespace)
        self._reflector = Reflector(selector=f"metadata.name={name}" if name else "")
        self._on_change = on_change
        self._read = read
        self._objects: dict[Name, Any] = {}

    @property
    def listed(self) -> bool:
        """Whether all that there is is known: before, what is not there may yet be."""
        return self._reflector.listed

    @property
    def error(self) -> ApiError | None:
        """Why they cannot be followed now; None while all is well."""
        return self._reflector.error

    def get(self, name: Name) -> Any:
        """What was read of an object, None without one."""
        return self._objects.get(name)

    def __iter__(self) -> Iterator[Name]:
        return iter(tuple(self._objects))

    async def run(self, cluster: Cluster, on_listed: Callable[[], None] = lambda: None) -> NoReturn:
        """Follow them until cancelled. `on_listed` is told once everything that there is is known."""
        told = False

        def turned() -> None:
            nonlocal told
            if self.listed and not told:
                told = True
                on_listed()

        await follow(cluster, self._path, self._reflector, self._take, turned)

    def _take(self, deltas: Iterable[Delta]) -> None:
        for name, data in deltas:
            if data is None:
                self._objects.pop(name, None)
            else:
                self._objects[name] = self._read(msgspec.json.decode(data))
            self._on_change(name)
