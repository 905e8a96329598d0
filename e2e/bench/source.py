"""A source of objects in memory: what a watch of an API server would hand on, without the API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from crds.decode import decode_json
from crds.meta import ObjectKey, ObjectMeta
from dragoman.sources.change import Batch, Change, Report


class MemorySource:
    """`dragoman.runtime`'s source. `documents` makes the JSON of all objects; it is called once, by `load`."""

    def __init__(self, documents: Callable[[], Iterable[bytes]]) -> None:
        self._documents = documents
        self._objects: dict[ObjectKey, Any] = {}
        self._batches: asyncio.Queue[Batch] = asyncio.Queue()

    def load(self) -> Batch:
        return self._batch(decode_json(document) for document in self._documents())

    async def watch(self) -> AsyncIterator[Batch]:
        while True:
            yield await self._batches.get()

    def reports(self) -> tuple[Report, ...]:
        return ()

    def reports_of(self, key: ObjectKey) -> tuple[Report, ...]:
        return ()

    def metadata(self, key: ObjectKey) -> ObjectMeta | None:
        """What an object says of itself."""
        obj = self._objects.get(key)
        return None if obj is None else obj.metadata

    def location(self, key: ObjectKey) -> None:
        """Nothing here comes from a file."""

    def put(self, *objects: Any) -> None:
        """Objects that were added or changed, together."""
        self._batches.put_nowait(self._batch(objects))

    def remove(self, *keys: ObjectKey) -> None:
        """Objects that went, together."""
        self._batches.put_nowait(Batch(tuple(Change(key, self._objects.pop(key), None) for key in keys)))

    def _batch(self, objects: Iterable[Any]) -> Batch:
        changes = []
        for obj in objects:
            changes.append(Change(obj.key, self._objects.get(obj.key), obj))
            self._objects[obj.key] = obj
        return Batch(tuple(changes))
