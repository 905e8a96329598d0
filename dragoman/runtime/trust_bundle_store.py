"""Fetched trust bundles in a file: a publisher that is down when the control plane restarts must not cost its roots."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import structlog
from cryptography import x509

from ca.authority import pem
from dragoman.runtime import private_file

log = structlog.get_logger(__name__)

Bundles = Mapping[str, tuple[x509.Certificate, ...]]
"""Roots by the URL that they are from."""

_MAX_BYTES: Final = 64 << 20
_FORMAT: Final = 1


class _File(msgspec.Struct, frozen=True):
    format: int
    bundles: dict[str, str]
    """PEM by URL."""


class TrustBundleStore:
    """Without a path it keeps nothing. A file that cannot be read, is of another format or belongs to somebody else is
    as good as none."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    def load(self) -> Bundles:
        """What was kept last."""
        if self._path is None:
            return {}
        try:
            # Whoever can write it could make identities.
            kept = private_file.read(self._path, _File, at_most=_MAX_BYTES)
            if kept is None:
                return {}
            if kept.format != _FORMAT:
                raise private_file.UnusableFileError(f"it is of format {kept.format}, not {_FORMAT}")
            return {url: tuple(x509.load_pem_x509_certificates(text.encode())) for url, text in kept.bundles.items()}
        except (private_file.UnusableFileError, ValueError, x509.InvalidVersion) as error:
            log.warning("kept trust bundles are not read", file=str(self._path), reason=str(error))
            return {}

    def save(self, bundles: Bundles) -> None:
        """Replace what is kept; an error is logged, for the roots are in force all the same."""
        if self._path is None:
            return
        texts = {url: pem(roots).decode() for url, roots in sorted(bundles.items()) if roots}
        try:
            private_file.write(self._path, _File(_FORMAT, texts))
        except OSError as error:
            log.error("trust bundles cannot be kept", file=str(self._path), reason=str(error))
