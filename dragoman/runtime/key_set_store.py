"""Fetched keys in a file: an issuer that is down when the control plane restarts must not cost its tokens."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import structlog

from crds import jwks
from dragoman.mesh.request_authentications import KeySource

log = structlog.get_logger(__name__)

_MAX_BYTES: Final = 64 << 20
_FORMAT: Final = 1


class _Kept(msgspec.Struct, frozen=True):
    uri: str
    discovered: bool
    keys: str


class _File(msgspec.Struct, frozen=True):
    format: int
    sources: list[_Kept]


class KeySetStore:
    """Without a path it keeps nothing. A file that cannot be read, is of another format or belongs to somebody else is
    as good as none."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    def load(self) -> dict[KeySource, str]:
        """What was kept last."""
        if self._path is None:
            return {}
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_mode & 0o077 or status.st_uid != os.getuid():
                    # Whoever can write it could make tokens.
                    raise ValueError("others than this user may read or write it (chmod 600)")
                if status.st_size > _MAX_BYTES:
                    raise ValueError(f"it is too large ({status.st_size} bytes)")
                read = msgspec.json.decode(file.read(), type=_File)
            if read.format != _FORMAT:
                raise ValueError(f"it is of format {read.format}, not {_FORMAT}")
            found = {KeySource(k.uri, k.discovered): jwks.read(k.keys, shared_secrets=False).text for k in read.sources}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            log.warning("kept keys of token issuers are not read", file=str(self._path), reason=str(error))
            return {}
        return {source: text for source, text in found.items() if text is not None}

    def save(self, keys: Mapping[KeySource, str]) -> None:
        """Replace what is kept; an error is logged, for the keys are in force all the same."""
        if self._path is None:
            return
        kept = [_Kept(source.uri, source.discovered, keys[source]) for source in sorted(keys)]
        staged: str | None = None
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, staged = tempfile.mkstemp(prefix=f".{self._path.name}-", dir=self._path.parent)  # 0600
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.encode(_File(_FORMAT, kept)))
                file.flush()
                os.fsync(file.fileno())
            os.replace(staged, self._path)
        except OSError as error:
            log.error("keys of token issuers cannot be kept", file=str(self._path), reason=str(error))
            if staged is not None:
                with suppress(OSError):
                    os.unlink(staged)
