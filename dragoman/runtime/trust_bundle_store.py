"""Fetched trust bundles in a file: a publisher that is down when the control plane restarts must not cost its roots."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509

from ca.authority import pem
from dragoman.runtime.private_file import PrivateFile

Bundles = Mapping[str, tuple[x509.Certificate, ...]]
"""Roots by the URL that they are from."""

_MAX_BYTES: Final = 64 << 20
_FORMAT: Final = 1


class _File(msgspec.Struct, frozen=True):
    format: int
    bundles: dict[str, str]
    """PEM by URL."""


class TrustBundleStore:
    """Without a path it keeps nothing. Whoever can write the file could make identities (see `PrivateFile`)."""

    def __init__(self, path: Path | None = None) -> None:
        self._file = PrivateFile(path, _File, _FORMAT, "trust bundles", at_most=_MAX_BYTES)

    def load(self) -> Bundles:
        """What was kept last."""
        kept = self._file.read()
        try:
            texts = {} if kept is None else kept.bundles
            return {url: tuple(x509.load_pem_x509_certificates(text.encode())) for url, text in texts.items()}
        except (ValueError, x509.InvalidVersion) as error:
            self._file.unusable(error)
            return {}

    def save(self, bundles: Bundles) -> None:
        """Replace what is kept; an error is logged, for the roots are in force all the same."""
        self._file.write(_File(_FORMAT, {url: pem(roots).decode() for url, roots in sorted(bundles.items()) if roots}))
