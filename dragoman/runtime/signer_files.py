"""What the operator keeps in files of a signer elsewhere: its roots, and what it has revoked; followed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import structlog
from cryptography import x509

from ca.authority_files import RootStoreError
from ca.revocations import revocation_lists
from ca.rotation import name_of
from dragoman.runtime.identities import Identities

log = structlog.get_logger(__name__)

_LOOK_EVERY: Final = 1.0
"""Seconds."""

_Read = TypeVar("_Read")


class FollowedFile(Generic[_Read]):
    """A file that may be changed while the control plane runs, and what `parse` makes of its content and its path.

    What it held last and was good stays good. A content counts once it has been seen twice: `cp` writes it piece by
    piece, and the first certificates of a file without the others are a good file as well.
    """

    def __init__(self, path: Path, parse: Callable[[bytes, str], _Read]) -> None:
        """Raises `RootStoreError` where there is nothing good to begin with."""
        self._path = path
        self._parse = parse
        self._taken = self._suspect = self._content()
        self.value = self._parsed(self._taken)

    def changed(self) -> _Read | None:
        """What the file holds if that was changed since it was last read; None if not, or while it is being written.

        Raises `RootStoreError` once for each content that is of no use.
        """
        content = self._content()
        settled = content == self._suspect
        self._suspect = content
        if content == self._taken or not settled:
            return None
        self._taken = content
        self.value = self._parsed(content)
        return self.value

    def _content(self) -> bytes | str:
        """The bytes, or why there are none."""
        try:
            return self._path.read_bytes()
        except OSError as error:
            return f"cannot read {self._path}: {error.strerror}"

    def _parsed(self, content: bytes | str) -> _Read:
        if isinstance(content, str):
            raise RootStoreError(content)
        return self._parse(content, str(self._path))


class SignerFiles:
    """The files, either of which may be missing. Raises `RootStoreError` for one that is of no use."""

    def __init__(self, roots: Path | None = None, revoked: Path | None = None) -> None:
        self._roots = None if roots is None else FollowedFile(roots, _certificates)
        self._revoked = None if revoked is None else FollowedFile(revoked, revocation_lists)

    @property
    def roots(self) -> tuple[x509.Certificate, ...]:
        return () if self._roots is None else self._roots.value

    @property
    def revoked(self) -> tuple[x509.CertificateRevocationList, ...]:
        return () if self._revoked is None else self._revoked.value

    async def follow(self, identities: Identities) -> None:
        """Have proxies know what the files say, until cancelled."""
        files = [file for file in (self._roots, self._revoked) if file is not None]
        while files:
            await asyncio.sleep(_LOOK_EVERY)
            if any([await _looked_at(file) for file in files]):
                log.info(
                    "files of the signer changed",
                    roots=list(map(name_of, self.roots)),
                    lists_of=[each.issuer.rfc4514_string() for each in self.revoked],
                )
                identities.follow_signer(self.roots, self.revoked)


async def _looked_at(file: FollowedFile[Any]) -> bool:
    """Whether it has changed."""
    try:
        return await asyncio.to_thread(file.changed) is not None
    except RootStoreError as error:
        log.error("file of the signer not usable, the last good one stays", error=str(error))
        return False


def _certificates(pem: bytes, place: str) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except (ValueError, x509.InvalidVersion) as error:
        raise RootStoreError(f"{place} is no PEM of certificates") from error
