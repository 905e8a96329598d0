"""Linux's inotify, as much of it as following a folder needs (inotify(7)).

The `watchfiles` package reports that a file was modified but not that its writer closed it, so a half-written file
could not be told from a finished one; inotify itself tells.
"""

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

MODIFY = 0x2
CLOSE_WRITE = 0x8
MOVED_FROM = 0x40
MOVED_TO = 0x80
CREATE = 0x100
DELETE = 0x200
Q_OVERFLOW = 0x4000
IGNORED = 0x8000
ISDIR = 0x40000000
_ONLYDIR = 0x01000000
_MASK_ADD = 0x20000000

ENTRIES = CREATE | DELETE | MOVED_FROM | MOVED_TO
"""Names appear in or vanish from a directory."""
CONTENTS = ENTRIES | MODIFY | CLOSE_WRITE
"""And their contents change."""

_HEADER = struct.Struct("iIII")
_BUFFER = 1 << 16

AVAILABLE = sys.platform == "linux"


@dataclass(frozen=True, slots=True)
class Event:
    """``watch`` is the number that `Inotify.watch` gave; ``cookie`` pairs MOVED_FROM with MOVED_TO."""

    watch: int
    mask: int
    cookie: int
    name: str


class Inotify:
    """One inotify instance; close it, or use it as a context manager."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._check(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1")

    def fileno(self) -> int:
        return self._descriptor

    def watch(self, directory: Path, events: int = CONTENTS) -> int:
        """Watch a directory. The same directory by another path gives the same number, and events add up."""
        mask = events | _ONLYDIR | _MASK_ADD
        return self._check(self._libc.inotify_add_watch(self._descriptor, os.fsencode(directory), mask), str(directory))

    def forget(self, watch: int) -> None:
        """End a watch; one that is gone already (its directory was deleted) is none to end."""
        self._libc.inotify_rm_watch(self._descriptor, watch)

    def read(self) -> Iterator[Event]:
        """The events that are queued now; never waits."""
        while True:
            try:
                data = os.read(self._descriptor, _BUFFER)
            except BlockingIOError:
                return
            at = 0
            while at < len(data):
                watch, mask, cookie, length = _HEADER.unpack_from(data, at)
                at += _HEADER.size + length
                yield Event(watch, mask, cookie, os.fsdecode(data[at - length : at].rstrip(b"\0")))

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @staticmethod
    def _check(result: int, what: str) -> int:
        if result >= 0:
            return result
        code = ctypes.get_errno()
        hint = {
            errno.ENOSPC: "; raise fs.inotify.max_user_watches",
            errno.EMFILE: "; raise fs.inotify.max_user_instances",
        }.get(code, "")
        raise OSError(code, os.strerror(code) + hint, what)
