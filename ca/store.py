"""Where the state of the CA is kept, shared by the replicas of the control plane with optimistic locking.

The protocol is what a Kubernetes Secret offers (its `resourceVersion`); the files here are for a control plane outside
of a cluster, several of which may share a folder.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from ca import rotation_document
from ca.authority import AuthorityError
from ca.rotation import Rotation

_ABSENT: Final = ""


class StoreError(AuthorityError):
    """The state cannot be read or written. `str()` names the place and the reason; never what is in it."""


class ConflictError(StoreError):
    """Somebody else wrote first: read again."""


class Store(Protocol):
    """A document and its version."""

    async def read(self) -> tuple[bytes | None, str]:
        """The document, None where there is none yet, and its version. Raises `StoreError`."""

    async def replace(self, document: bytes, version: str) -> str:
        """Write if the version is still this one, durably; return the new one. Raises `ConflictError`, `StoreError`."""


async def update(store: Store, change: Callable[[Rotation | None], Rotation]) -> tuple[Rotation, str]:
    """Change the state, again on whatever others wrote meanwhile; return it and its version.

    `change` is pure. What it returns unchanged is not written. Raises `StoreError`, and whatever `change` raises.
    """
    while True:
        document, version = await store.read()
        before = None if document is None else rotation_document.load(document)
        after = change(before)
        if after is before:
            return after, version
        try:
            return after, await store.replace(rotation_document.dump(after), version)
        except ConflictError:
            continue


class FileStore:
    """A file of mode 0600, replaced as a whole. A lock beside it makes the comparison and the replacement one step."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def place(self) -> str:
        return str(self.path)

    async def read(self) -> tuple[bytes | None, str]:
        return await asyncio.to_thread(self._read)

    async def replace(self, document: bytes, version: str) -> str:
        return await asyncio.to_thread(self._replace, document, version)

    def _read(self) -> tuple[bytes | None, str]:
        try:
            document = self.path.read_bytes()
            mode = self.path.stat().st_mode & 0o777
        except FileNotFoundError:
            return None, _ABSENT
        except OSError as error:
            raise StoreError(f"cannot read {self.path}: {error.strerror}") from error
        if mode & 0o077:
            raise StoreError(f"{self.path} has mode {mode:04o}, others may read the CA key: chmod 600 it")
        return document, hashlib.sha256(document).hexdigest()

    def _replace(self, document: bytes, version: str) -> str:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if self._read()[1] != version:
                    raise ConflictError(f"{self.path} was written by another process")
                self._write(document)
            finally:
                os.close(lock)
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror}") from error
        return hashlib.sha256(document).hexdigest()

    def _write(self, document: bytes) -> None:
        descriptor, staged = tempfile.mkstemp(prefix=f".{self.path.name}-", dir=self.path.parent)  # 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(document)
                file.flush()
                os.fsync(file.fileno())
            self._keep_owner(staged)
            os.rename(staged, self.path)
        except BaseException:
            os.unlink(staged)
            raise
        # The name must survive a crash as well as the content.
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _keep_owner(self, staged: str) -> None:
        """What root writes with `dragoman ca` stays readable for the control plane, which runs as somebody else."""
        if os.geteuid() == 0 and self.path.exists():
            owner = self.path.stat()
            os.chown(staged, owner.st_uid, owner.st_gid)
