"""Fetched keys in a file: an issuer that is down when the control plane restarts must not cost its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import structlog

from crds import jwks
from dragoman.mesh.request_authentications import KeySource
from dragoman.runtime import private_file

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
            # Whoever can write it could make tokens.
            kept = private_file.read(self._path, _File, at_most=_MAX_BYTES)
            if kept is None:
                return {}
            if kept.format != _FORMAT:
                raise private_file.UnusableFileError(f"it is of format {kept.format}, not {_FORMAT}")
            found = {KeySource(k.uri, k.discovered): jwks.read(k.keys, shared_secrets=False).text for k in kept.sources}
        except (private_file.UnusableFileError, jwks.KeySetError) as error:
            log.warning("kept keys of token issuers are not read", file=str(self._path), reason=str(error))
            return {}
        return {source: text for source, text in found.items() if text is not None}

    def save(self, keys: Mapping[KeySource, str]) -> None:
        """Replace what is kept; an error is logged, for the keys are in force all the same."""
        if self._path is None:
            return
        kept = [_Kept(source.uri, source.discovered, keys[source]) for source in sorted(keys)]
        try:
            private_file.write(self._path, _File(_FORMAT, kept))
        except OSError as error:
            log.error("keys of token issuers cannot be kept", file=str(self._path), reason=str(error))
