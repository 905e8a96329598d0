"""One value in a file of the state directory: this user's alone, replaced at once, bounded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from dragoman.runtime.replaced_file import replace

T = TypeVar("T")


class UnusableFileError(Exception):
    """What is in the file is not what we wrote, or not ours alone; the text says why."""


def read(path: Path, kind: type[T], *, at_most: int) -> T | None:
    """The value in the file, None without a file; raises `UnusableFileError`.

    A file that others may write is not read: what it says goes to proxies.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_mode & 0o077 or status.st_uid != os.getuid():
                raise UnusableFileError("others than this user may read or write it (chmod 600)")
            if status.st_size > at_most:
                raise UnusableFileError(f"it is too large ({status.st_size} bytes)")
            return msgspec.json.decode(file.read(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
        raise UnusableFileError(str(error)) from None


def write(path: Path, value: object) -> None:
    """Replace the value in the file (mode 0600), on disk when this returns; raises OSError."""
    replace(path, msgspec.json.encode(value))
