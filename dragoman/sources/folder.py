"""A folder tree of YAML and JSON files: which files belong to it, what is in them, and what happens to them.

- Files end in .yaml, .yml or .json. Names that start with a dot are passed over: they are editors' scratch files,
  ``.git``, and the ``..data`` machinery of mounted ConfigMaps.
- Symlinks are followed, to files and to directories. A directory that is reachable twice is read once, by the path
  that sorts first.
- A file is read when its writer closes it or it is renamed into place, never while somebody has it open for writing.
  So a file that was truncated to be written anew is not an empty one; one that was *closed* empty is, and its objects
  are deleted.
"""

import asyncio
import errno
import fcntl
import os
import signal
import stat
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from dragoman.sources import inotify
from dragoman.sources.manifest import Content

SUFFIXES = (".yaml", ".yml", ".json")

_PARTNER_SECONDS = 0.01
"""The kernel queues both halves of a rename within one system call: this waits out a reader that came in between."""


def belongs(name: str) -> bool:
    return name.endswith(SUFFIXES) and not name.startswith(".")


def read(path: Path) -> Content:
    """The content of a regular file; pipes and devices count as absent rather than block."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            return file.read() if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return error


def has_writer(path: Path) -> bool:
    """Whether some process has the file open for writing, as far as the kernel lets us know.

    A read lease is granted only where there is no writer (fcntl(2), F_SETLEASE); it is given back at once. It is
    refused for other reasons to whoever neither owns the file nor is privileged, and on file systems without leases:
    there the events of modification remain, of which a truncation's comes some microseconds after its effect.
    """
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            # A writer that comes in just now makes the kernel signal us: by default with SIGIO, which would end us.
            fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        except OSError as error:
            return error.errno == errno.EAGAIN
        finally:
            os.close(descriptor)
    return False


class Tree:
    """One listing of a folder tree. Raises OSError when the root itself cannot be listed."""

    def __init__(self, root: Path, entering: Callable[[Path], object] = lambda directory: None) -> None:
        """``entering`` is called before each directory is listed, so that a watch can be set before looking."""
        self.files: list[Path] = []
        self.directories: set[Path] = set()
        self.unreadable: dict[Path, OSError] = {}
        self._entering = entering
        self._seen: set[tuple[int, int]] = set()
        self._list(root)
        if root in self.unreadable:
            raise self.unreadable[root]

    def _list(self, directory: Path) -> None:
        try:
            status = directory.stat()
            if (status.st_dev, status.st_ino) in self._seen:
                return
            self._seen.add((status.st_dev, status.st_ino))
            self._entering(directory)
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except OSError as error:
            self.unreadable[directory] = error
            return
        self.directories.add(directory)
        for entry in entries:
            if entry.name.startswith("."):
                continue
            with suppress(OSError):  # gone, or a symlink to nowhere
                path = Path(entry.path)
                if entry.is_dir():
                    self._list(path)
                elif belongs(entry.name) and entry.is_file():
                    self.files.append(path)

    def contents(self, known: Collection[Path]) -> dict[Path, Content]:
        """Every file, every folder that cannot be listed, and of the ``known`` files those gone or out of reach."""
        contents: dict[Path, Content] = {path: read(path) for path in self.files}
        contents.update(self.unreadable)
        for path in known:
            if path not in contents:
                hidden = next((self.unreadable[parent] for parent in path.parents if parent in self.unreadable), None)
                contents[path] = hidden
        return contents


class FolderWatch:
    """Follows a folder tree by inotify. A context manager; for one task."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._inotify = inotify.Inotify()
        self._directories: dict[int, Path] = {}
        self._link_targets: dict[tuple[int, str], set[Path]] = {}
        self._parent = -1
        self._ready: set[Path] = set()
        self._being_written: set[Path] = set()
        self._departures: set[int] = set()
        self._stale = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._inotify.close()

    async def changes(self, known: Collection[Path]) -> Mapping[Path, Content]:
        """The next files that are written, moved or deleted, with what is in them now; ``known`` ones may be gone.

        At the first call, and whenever events were lost or directories moved, that is every file there is. Raises
        OSError when the root cannot be listed; call again and it waits until something happens.
        """
        while True:
            self._collect()
            if not (self._stale or self._ready):
                await self._wait()
                self._collect()
            if self._departures:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_PARTNER_SECONDS):
                        await self._wait()
                self._collect()
                self._departures.clear()
            ready, self._ready = self._ready, set()
            if self._stale:
                self._stale = False
                contents = self._rescan().contents(known)
            else:
                contents = {path: read(path) for path in sorted(ready)}
            # Whoever has one of them open for writing will close it, and then it is read again. Looking for writers
            # after reading, and for events after that, misses none: the kernel queues the event of a close before it
            # counts the writer as gone.
            self._being_written.update(
                path for path, content in contents.items() if content is not None and has_writer(path)
            )
            self._collect()
            for path in self._being_written | self._ready:
                contents.pop(path, None)
            if contents:
                return contents

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._inotify.fileno(), readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._inotify.fileno())

    def _rescan(self) -> Tree:
        """List the tree again, with a watch on each directory and on the directory of each symlink's target."""
        before = {*self._directories, *(watch for watch, _ in self._link_targets)}
        self._directories, self._link_targets = {}, {}
        # The root may itself be replaced: by rename, or as a symlink to a release.
        with suppress(OSError):
            self._parent = self._inotify.watch(self._root.absolute().parent, inotify.ENTRIES)

        def enter(directory: Path) -> None:
            self._directories[self._inotify.watch(directory)] = directory

        tree = Tree(self._root, enter)
        for path in tree.files:
            if path.is_symlink():
                target = Path(os.path.realpath(path))
                with suppress(OSError):
                    watch = self._inotify.watch(target.parent)
                    self._link_targets.setdefault((watch, target.name), set()).add(path)
        current = {*self._directories, *(watch for watch, _ in self._link_targets), self._parent}
        for watch in before - current:
            self._inotify.forget(watch)
        self._being_written.intersection_update(tree.files)
        return tree

    def _collect(self) -> None:
        for event in self._inotify.read():
            if event.mask & inotify.Q_OVERFLOW or (event.watch == self._parent and event.name == self._root.name):
                self._stale = True
            if event.mask & inotify.MOVED_FROM:
                self._departures.add(event.cookie)
            elif event.mask & inotify.MOVED_TO:
                self._departures.discard(event.cookie)
            if directory := self._directories.get(event.watch):
                self._entry(directory / event.name, event)
            for path in self._link_targets.get((event.watch, event.name), ()):
                self._file(path, event.mask)

    def _entry(self, path: Path, event: inotify.Event) -> None:
        if event.name.startswith("."):
            # A mounted ConfigMap is replaced as a whole: the kubelet renames a new symlink `..data` over the old one.
            self._stale |= event.name == "..data" and bool(event.mask & inotify.ENTRIES)
        elif event.mask & inotify.ENTRIES and (
            event.mask & inotify.ISDIR or path in self._directories.values() or path.is_symlink() or path.is_dir()
        ):
            self._stale = True
        elif belongs(event.name):
            self._file(path, event.mask)

    def _file(self, path: Path, mask: int) -> None:
        if mask & inotify.MODIFY:
            self._ready.discard(path)
            self._being_written.add(path)
        elif mask & (inotify.CLOSE_WRITE | inotify.MOVED_TO | inotify.MOVED_FROM | inotify.DELETE):
            self._being_written.discard(path)
            self._ready.add(path)
        elif mask & inotify.CREATE:
            # Who creates a file to write it closes it later; a hard link comes complete.
            with suppress(OSError):
                if path.stat().st_nlink > 1:
                    self._ready.add(path)
