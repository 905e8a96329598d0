"""The objects of one kind as an API server has them, kept by list and watch."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from dragoman.kube.cluster import Cluster
from dragoman.kube.errors import ApiError
from dragoman.kube.resource import ApiResource

Object = Mapping[str, Any]
Changed = Callable[[Object, bool], None]
"""Is told of an object as it is now, and whether that is its last state: it has been deleted."""

RETRY_SECONDS = 0.2


class Watched:
    """`run` follows the API server until cancelled; it may be away for a while."""

    def __init__(self, cluster: Cluster, resource: ApiResource) -> None:
        self._cluster = cluster
        self._resource = resource
        self._objects: dict[tuple[str, str], Object] = {}
        self._listeners: list[Changed] = []
        self._version = 0
        """Of the newest that has come: all that is older has come before it (Kubernetes: API concepts)."""
        self._news = asyncio.Event()
        self.synced = asyncio.Event()

    @property
    def objects(self) -> tuple[Object, ...]:
        """All of them."""
        return tuple(self._objects.values())

    @property
    def version(self) -> int:
        """Another as soon as any of them has changed."""
        return self._version

    def get(self, namespace: str, name: str) -> Object | None:
        """One of them."""
        return self._objects.get((namespace, name))

    def listen(self, changed: Changed) -> None:
        """Be told of every change from now on."""
        self._listeners.append(changed)

    async def changed(self) -> None:
        """Wait for the next change."""
        await self._news.wait()

    async def caught_up(self) -> None:
        """Wait until all that the API server knows now has come: what it tells otherwise may be newer than a watch."""
        answer = json.loads(await self._cluster.request("GET", self._resource.path()))
        present = {_key(item): _version(item) for item in answer["items"]}
        now = int(answer["metadata"]["resourceVersion"])

        def all_has_come() -> bool:
            gone = (item for key, item in self._objects.items() if key not in present)
            return self._version >= max(present.values(), default=0) and all(_version(item) > now for item in gone)

        while not all_has_come():
            await self.changed()

    async def run(self) -> None:
        """Follow the API server."""
        while True:
            try:
                await self._list()
                self.synced.set()
                while True:
                    await self._watch()
            except ApiError:
                await asyncio.sleep(RETRY_SECONDS)

    async def _list(self) -> None:
        answer = json.loads(await self._cluster.request("GET", self._resource.path()))
        present = {_key(item): item for item in answer["items"]}
        for key in self._objects.keys() - present.keys():
            self._set(self._objects[key], gone=True)
        self._version = int(answer["metadata"]["resourceVersion"])
        for item in present.values():
            self._set(item, gone=False)

    async def _watch(self) -> None:
        query = {"watch": "true", "resourceVersion": str(self._version), "allowWatchBookmarks": "true"}
        async with self._cluster.lines(self._resource.path(), query=query) as lines:
            async for line in lines:
                event = json.loads(line)
                item = event["object"]
                if event["type"] == "ERROR":
                    raise ApiError(item["code"], item["reason"], item["message"])
                self._version = _version(item)
                if event["type"] != "BOOKMARK":
                    self._set(item, gone=event["type"] == "DELETED")

    def _set(self, item: Object, *, gone: bool) -> None:
        before = self._objects.pop(_key(item), None)
        if not gone:
            self._objects[_key(item)] = item
        if gone or before is None or _version(before) != _version(item):
            for listener in self._listeners:
                listener(item, gone)
            self._news.set()
            self._news = asyncio.Event()


def _key(item: Object) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _version(item: Object) -> int:
    return int(item["metadata"]["resourceVersion"])
