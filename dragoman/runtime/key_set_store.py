"""Fetched keys in a file: an issuer that is down when the control plane restarts must not cost its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from crds import jwks
from dragoman.mesh.request_authentications import KeySource
from dragoman.runtime.private_file import PrivateFile

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
    """Without a path it keeps nothing. Whoever can write the file could make tokens (see `PrivateFile`)."""

    def __init__(self, path: Path | None = None) -> None:
        self._file = PrivateFile(path, _File, _FORMAT, "keys of token issuers", at_most=_MAX_BYTES)

    def load(self) -> dict[KeySource, str]:
        """What was kept last."""
        kept = self._file.read()
        try:
            sources = () if kept is None else kept.sources
            found = {KeySource(k.uri, k.discovered): jwks.read(k.keys, shared_secrets=False).text for k in sources}
        except jwks.KeySetError as error:
            self._file.unusable(error)
            return {}
        return {source: text for source, text in found.items() if text is not None}

    def save(self, keys: Mapping[KeySource, str]) -> None:
        """Replace what is kept; an error is logged, for the keys are in force all the same."""
        kept = [_Kept(source.uri, source.discovered, keys[source]) for source in sorted(keys)]
        self._file.write(_File(_FORMAT, kept))
