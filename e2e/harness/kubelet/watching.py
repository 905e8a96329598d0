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
        self._news = asyncio.Event()
        self.synced = asyncio.Event()

    @property
    def objects(self) -> tuple[Object, ...]:
        """All of them."""
        return tuple(self._objects.values())

    def get(self, namespace: str, name: str) -> Object | None:
        """One of them."""
        return self._objects.get((namespace, name))

    def listen(self, changed: Changed) -> None:
        """Be told of every change from now on."""
        self._listeners.append(changed)

    async def changed(self) -> None:
        """Wait for the next change."""
        await self._news.wait()

    async def run(self) -> None:
        """Follow the API server."""
        while True:
            try:
                version = await self._list()
                self.synced.set()
                while True:
                    version = await self._watch(version)
            except ApiError:
                await asyncio.sleep(RETRY_SECONDS)

    async def _list(self) -> str:
        answer = json.loads(await self._cluster.request("GET", self._resource.path()))
        present = {_key(item): item for item in answer["items"]}
        for key in self._objects.keys() - present.keys():
            self._set(self._objects[key], gone=True)
        for item in present.values():
            self._set(item, gone=False)
        return str(answer["metadata"]["resourceVersion"])

    async def _watch(self, version: str) -> str:
        query = {"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true"}
        async with self._cluster.lines(self._resource.path(), query=query) as lines:
            async for line in lines:
                event = json.loads(line)
                item = event["object"]
                if event["type"] == "ERROR":
                    raise ApiError(item["code"], item["reason"], item["message"])
                version = item["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    self._set(item, gone=event["type"] == "DELETED")
        return version

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


def _version(item: Object) -> str:
    return str(item["metadata"]["resourceVersion"])
