"""A CA that the operator gives, in a folder that may change while the control plane runs.

A mounted Kubernetes Secret changes by swapping one symbolic link under all of its files, `cp` changes one file after
the other: what does not belong together is read again before it is complained about.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from cryptography import x509

from ca.authority import Authority
from ca.authority_files import RootStoreError, parse
from ca.revocations import revocation_lists
from ca.root_store import load

CRL: Final = "ca-crl.pem"  # Istio: security/pkg/pki/ca, CACRLFile
_LARGEST: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Given:
    """What the operator gives: a CA, and lists of what it revokes."""

    authority: Authority
    revoked: tuple[x509.CertificateRevocationList, ...] = ()

    @classmethod
    def of(cls, files: Mapping[str, bytes], place: str) -> Given:
        """What files by name hold, such as the data of a Secret. Raises `RootStoreError`."""
        return cls(parse(files, place), revocation_lists(files[CRL], f"{place}/{CRL}") if CRL in files else ())


class PluggedInCa(Protocol):
    """Where the operator keeps a CA of their own."""

    def changed(self) -> Given | None:
        """What is there if it was changed since it was last read, None if not. May take a while.

        Raises `RootStoreError` once for what is no CA.
        """


class PluggedIn:
    """The folder. Mode bits are not looked at: files of a Secret volume are 0644 by default, and there the pod decides
    who reads them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._seen = ""
        self._suspect = ""

    def read(self) -> Given:
        """What the folder holds now. Raises `RootStoreError`."""
        self._seen = self._digest()
        return self._load()

    def changed(self) -> Given | None:
        """What the folder holds if it was changed since it was last read; None if not, or while it is being written.

        Raises `RootStoreError` once for each content that is no CA: what was read before stays good.
        """
        digest = self._digest()
        if digest == self._seen:
            return None
        try:
            given = self._load()
        except RootStoreError:
            if digest != self._suspect:
                self._suspect = digest
                return None
            self._seen = digest
            raise
        if self._digest() != digest:
            return None
        self._seen = digest
        return given

    def _load(self) -> Given:
        authority = load(self.directory, private=False)
        path = self.directory / CRL
        try:
            crl = path.read_bytes()
        except FileNotFoundError:
            return Given(authority)
        except OSError as error:
            raise RootStoreError(f"cannot read {path}: {error.strerror}") from error
        return Given(authority, revocation_lists(crl, str(path)))

    def _digest(self) -> str:
        digest = hashlib.sha256()
        try:
            for path in sorted(self.directory.iterdir()):
                if path.is_file() and path.stat().st_size <= _LARGEST:
                    digest.update(f"{path.name}\0".encode())
                    digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError:
            # It is being replaced: what is missing is told by `load`.
            digest.update(b"unreadable")
        return digest.hexdigest()
