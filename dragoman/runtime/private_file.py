"""One value in a file of the state directory: this user's alone, replaced at once, bounded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec
import structlog

from dragoman.runtime.replaced_file import replace

log = structlog.get_logger(__name__)


class Formatted(Protocol):
    """What tells the number of its format."""

    @property
    def format(self) -> int: ...


T = TypeVar("T", bound=Formatted)


class UnusableFileError(Exception):
    """What is in the file is not what we wrote, or not ours alone; the text says why."""


class PrivateFile(Generic[T]):
    """A value of one kind and format. What goes wrong with it is logged, as what is kept of `what`, and costs no more
    than that: a file that cannot be read, is of another format or belongs to somebody else is as good as none.

    Without a path nothing is kept.
    """

    def __init__(self, path: Path | None, kind: type[T], format_: int, what: str, *, at_most: int) -> None:
        self._path = path
        self._kind = kind
        self._format = format_
        self._what = what
        self._at_most = at_most

    def read(self) -> T | None:
        """The value; None if there is none that can be used."""
        if self._path is None:
            return None
        try:
            kept = self._read(self._path)
            if kept is not None and kept.format != self._format:
                raise UnusableFileError(f"it is of format {kept.format}, not {self._format}")
        except UnusableFileError as error:
            self.unusable(error)
            return None
        return kept

    def unusable(self, error: Exception) -> None:
        """What was read means nothing: it is logged."""
        log.warning("kept state is not read", of=self._what, file=str(self._path), reason=str(error))

    def write(self, value: T) -> None:
        """Replace the value (mode 0600), on disk when this returns."""
        if self._path is None:
            return
        try:
            replace(self._path, msgspec.json.encode(value))
        except OSError as error:
            log.error("state cannot be kept", of=self._what, file=str(self._path), reason=str(error))

    def _read(self, path: Path) -> T | None:
        """The value in the file, None without a file; raises `UnusableFileError`.

        A file that others may write is not read: what it says goes to proxies.
        """
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_mode & 0o077 or status.st_uid != os.getuid():
                    raise UnusableFileError("others than this user may read or write it (chmod 600)")
                if status.st_size > self._at_most:
                    raise UnusableFileError(f"it is too large ({status.st_size} bytes)")
                return msgspec.json.decode(file.read(), type=self._kind)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
            raise UnusableFileError(str(error)) from None
