"""Objects from a folder of YAML: the source of the embedded mode.

Every file is read at once when it is written; what happened together is one batch. There is no debounce: files become
visible when they are complete (see `folder`), and the engine coalesces.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from crds.meta import Object, ObjectKey, ObjectMeta
from crds.problem import Problem
from dragoman.sources import inotify, problems
from dragoman.sources.change import Batch, Report
from dragoman.sources.folder import FolderWatch, Tree
from dragoman.sources.ingresses import Ingresses
from dragoman.sources.manifest import Content, Manifest
from dragoman.sources.registry import Registry

_SMALL = 16 * 1024
"""Bytes that are parsed on the spot, in some milliseconds. More would keep proxies waiting and goes to a thread; for
less the thread's own wait for the interpreter lock (5 ms when the loop is busy) would be most of the latency."""


class FileSource:
    """``load`` once, then ``watch``: what changed in between is the first batch of ``watch``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._registry = Registry()
        self._ingresses = Ingresses(self._registry.place)

    @property
    def objects(self) -> Mapping[ObjectKey, object]:
        """The objects in force."""
        return self._registry.objects

    def reports(self) -> tuple[Report, ...]:
        """All problems of the files as they are now, not only the latest."""
        return (*self._registry.reports(), *self._ingresses.reports())

    def reports_of(self, key: ObjectKey) -> tuple[Report, ...]:
        """All problems of one object as it is now."""
        return tuple(report for report in self.reports() if report.key == key)

    def metadata(self, key: ObjectKey) -> ObjectMeta | None:
        """What an object says of itself; of one that never was good only its name is known."""
        held = self._registry.objects.get(key)
        if isinstance(held, Object):
            return held.metadata
        return ObjectMeta(name=key.name, namespace=key.namespace) if self.reports_of(key) else None

    def location(self, key: ObjectKey) -> str | None:
        """`file:line` where the author of an object finds it; None when there is no such object."""
        return self._registry.location(self._ingresses.origin(key) or key)

    def load(self) -> Batch:
        """Every object of the tree. Raises OSError when the root is no directory that can be listed."""
        return self._taken(self._read(Tree(self._root).contents(self._known())))

    async def watch(self) -> AsyncIterator[Batch]:
        """Batches of changes, without end (on systems without inotify: one report, then the end)."""
        if not inotify.AVAILABLE:
            yield Batch(reports=(self._about_root(problems.not_followed()),))
            return
        with FolderWatch(self._root) as folder:
            while True:
                try:
                    contents = await folder.changes(self._known())
                except OSError as error:
                    yield Batch(reports=(self._about_root(problems.unreadable(error)),))
                    continue
                small = sum(len(content) for content in contents.values() if isinstance(content, bytes)) <= _SMALL
                manifests = self._read(contents) if small else await asyncio.to_thread(self._read, contents)
                if batch := self._taken(manifests):
                    yield batch

    def _taken(self, manifests: Mapping[str, Manifest | None]) -> Batch:
        return self._ingresses.extended(self._registry.update(manifests), self._registry.objects)

    def _known(self) -> list[Path]:
        return [Path(file) for file in self._registry.files]

    def _read(self, contents: Mapping[Path, Content]) -> dict[str, Manifest | None]:
        return self._registry.read({str(path): content for path, content in contents.items()})

    def _about_root(self, problem: Problem) -> Report:
        return Report(str(self._root), 1, None, problem, kept_last_good=bool(self._registry.objects))
