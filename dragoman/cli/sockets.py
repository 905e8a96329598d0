"""A UNIX socket that only its owner may connect to."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class SocketInUseError(OSError):
    """Somebody else's: `str()` says what is there."""


@contextmanager
def private_socket(path: Path) -> Iterator[str]:
    """The address `unix:path` to listen on within: what is created there has mode 0600 from the first moment.

    A socket that nobody answers on is taken over. Raises `SocketInUseError` for one that is alive and for other files.
    """
    _require_free(path)
    before = os.umask(0o177)
    try:
        yield f"unix:{path}"
    finally:
        os.umask(before)


def _require_free(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SocketInUseError(f"{path} is there and is no socket")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise SocketInUseError(f"another process listens on {path}")
