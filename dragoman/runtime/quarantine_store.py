"""What proxies rejected, view by view, kept beyond the views and, in a file, beyond the control plane."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
import structlog

from dragoman.codec import SECRET, Encoded
from dragoman.runtime.private_file import PrivateFile
from xds import Memory, Rejection, Resource

log = structlog.get_logger(__name__)

MAX_BYTES: Final = 16 << 20
"""Of the bytes of resources in the file; beyond that the views that were asked for longest ago are forgotten."""

KEPT_SECONDS: Final = 30 * 24 * 3600.0
"""After that time a view that nobody asked for is forgotten."""

_FORMAT: Final = 1
_PAUSE: Final = 0.5
"""Seconds between two writes: rejections come in bursts, one from each proxy."""
_SEEN_GRAIN: Final = 24 * 3600.0
"""That a view was asked for is written once a day only."""


class _Good(msgspec.Struct, frozen=True):
    type_url: str
    name: str
    version: str
    refs: list[tuple[str, str]]
    payload: bytes


class _Rejected(msgspec.Struct, frozen=True):
    type_url: str
    name: str
    version: str
    message: str
    proxy: str
    at: float


class _View(msgspec.Struct, frozen=True):
    name: str
    seen: float
    rejections: list[_Rejected]
    goods: list[_Good]


class _File(msgspec.Struct, frozen=True):
    format: int
    views: list[_View]


class QuarantineStore:
    """Memories of views by a name that is the same after a restart.

    Without a path it outlives the views only. Whoever can write the file could configure proxies (see `PrivateFile`); a
    rejection that was forgotten costs another one.
    """

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self._file = PrivateFile(path, _File, _FORMAT, "rejections", at_most=4 * MAX_BYTES)
        self._clock = clock
        self._memories: dict[str, Memory] = {}
        self._seen: dict[str, float] = {}
        self._changed = asyncio.Event()
        self._load()

    def recall(self, view: str) -> Memory:
        """What is remembered of a view that somebody asks for; empty if nothing is."""
        memory = self._memories.get(view)
        if memory is None:
            return Memory()
        now = self._clock()
        if now - self._seen[view] > _SEEN_GRAIN:
            self._seen[view] = now
            self._changed.set()
        return memory

    def remember(self, view: str, memory: Memory) -> None:
        """Replace what is remembered of a view; nothing, if nothing of it is rejected any more."""
        if memory:
            self._memories[view] = memory
            self._seen[view] = self._clock()
            self._bound()
        else:
            self._memories.pop(view, None)
            self._seen.pop(view, None)
        self._changed.set()

    def __len__(self) -> int:
        return len(self._memories)

    async def run(self) -> None:
        """Write what changed until cancelled, and then what was not written yet."""
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                writing = asyncio.create_task(asyncio.to_thread(self._write, dict(self._memories), dict(self._seen)))
                try:
                    await asyncio.shield(writing)
                except asyncio.CancelledError:
                    # A thread cannot be stopped, and must not write after the last write below.
                    await writing
                    raise
                await asyncio.sleep(_PAUSE)
        finally:
            if self._changed.is_set():
                self._write(self._memories, self._seen)

    def _bound(self) -> None:
        oldest = self._clock() - KEPT_SECONDS
        size = 0
        for view in sorted(self._memories, key=lambda name: -self._seen[name]):
            size += sum(resource.size for resource in self._memories[view].goods)
            if self._seen[view] < oldest or size > MAX_BYTES:
                del self._memories[view], self._seen[view]

    # -- file -------------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        kept = self._file.read()
        if kept is None:
            return
        for view in kept.views:
            self._memories[view.name] = _memory(view)
            self._seen[view.name] = view.seen
        self._bound()
        log.info("rejections remembered", views=len(self._memories))

    def _write(self, memories: Mapping[str, Memory], seen: Mapping[str, float]) -> None:
        views = [_view(name, seen[name], memory) for name, memory in sorted(memories.items())]
        self._file.write(_File(_FORMAT, views))


def _view(name: str, seen: float, memory: Memory) -> _View:
    return _View(
        name,
        seen,
        [_Rejected(r.type_url, r.name, r.version, r.message, r.proxy, r.at) for r in memory.rejections],
        [
            _Good(good.type_url, good.name, good.version, sorted(good.refs), good.payload)
            for good in memory.goods
            if good.type_url != SECRET
        ],
    )


def _memory(view: _View) -> Memory:
    rejections = (Rejection(r.type_url, r.name, r.version, r.message, r.proxy, r.at) for r in view.rejections)
    goods = (Encoded(g.type_url, g.name, g.version, frozenset(g.refs), (g.payload,)) for g in view.goods)
    return Memory(tuple(rejections), tuple(Resource.of(good) for good in goods))
