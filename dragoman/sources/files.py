"""Objects from a folder of YAML: the source of the embedded mode.

Every file is read at once when it is written; what happened together is one batch. There is no debounce: files become
visible when they are complete (see `folder`), and the engine coalesces.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from crds.meta import ObjectKey
from crds.problem import Problem
from dragoman.sources import inotify, manifest, problems
from dragoman.sources.change import Batch, Report
from dragoman.sources.folder import Content, FolderWatch, Tree
from dragoman.sources.manifest import Manifest
from dragoman.sources.registry import Registry


class FileSource:
    """``load`` once, then ``watch``: what changed in between is the first batch of ``watch``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._registry = Registry()

    @property
    def objects(self) -> Mapping[ObjectKey, object]:
        """The objects in force."""
        return self._registry.objects

    def reports(self) -> tuple[Report, ...]:
        """All problems of the files as they are now, not only the latest."""
        return self._registry.reports()

    def load(self) -> Batch:
        """Every object of the tree. Raises OSError when the root is no directory that can be listed."""
        return self._apply(Tree(self._root).contents(self._known()))

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
                # Parsing a large file takes long enough to keep proxies waiting.
                if batch := await asyncio.to_thread(self._apply, contents):
                    yield batch

    def _known(self) -> list[Path]:
        return [Path(file) for file in self._registry.files]

    def _apply(self, contents: Mapping[Path, Content]) -> Batch:
        return self._registry.update({str(path): self._manifest(path, content) for path, content in contents.items()})

    def _manifest(self, path: Path, content: Content) -> Manifest | None:
        before = self._registry.manifest(str(path))
        match content:
            case None:
                return None
            case OSError():
                return manifest.unreadable(content, before)
            case _:
                return manifest.read(content, before, json=path.suffix == ".json")

    def _about_root(self, problem: Problem) -> Report:
        return Report(str(self._root), 1, None, problem, kept_last_good=bool(self._registry.objects))
