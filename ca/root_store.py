"""The authority on disk: a directory with files of Istio's names, ours to create or plugged in by the operator."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from datetime import datetime
from pathlib import Path

from ca.authority import Authority, new_root
from ca.authority_files import ISTIO, RootStoreError, files_of, layout_of, parse


def load_or_create(directory: Path, trust_domain: str, *, now: datetime) -> Authority:
    """The authority kept in `directory`; where the directory is missing or empty, a new self-signed root.

    Several processes may start at once: all get the authority of the one that came first.
    """
    if not directory.is_dir() or not any(directory.iterdir()):
        create(directory, new_root(trust_domain, now=now))
    return load(directory)


def load(directory: Path, *, private: bool = True) -> Authority:
    """The authority kept in `directory`.

    Raises `RootStoreError` for a missing or unreadable file, and for a key that others may read or replace.
    `private=False` accepts such a key: files of a Kubernetes Secret volume are 0644 by default, and there the pod
    decides who reads them.
    """
    if not directory.is_dir():
        raise RootStoreError(f"{directory} is not a directory")
    layout = layout_of(os.listdir(directory), str(directory))
    if private:
        _require_private(directory, layout.key)
    return parse(
        {name: _read(directory / name) for name in layout.names() if (directory / name).exists()}, str(directory)
    )


def create(directory: Path, authority: Authority) -> None:
    """Write `authority` into `directory`, which must not exist or be empty; done wholly or not at all.

    Another process that does the same at the same time wins silently, as both then `load` the same authority.
    Raises `RootStoreError` when the directory cannot be made.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))  # 0700
    try:
        for name, content in files_of(authority).items():
            _write(staged / name, content, 0o600 if name == ISTIO.key else 0o644)
        # rename() replaces an empty directory in one step and refuses any other.
        os.rename(staged, directory)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise RootStoreError(
                f"cannot create {directory}: {error.strerror}; name a directory that does not exist yet"
            ) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _require_private(directory: Path, key: str) -> None:
    path = directory / key
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise RootStoreError(f"{path} has mode {mode:04o}, others may read the CA key: chmod 600 it")
    mode = stat.S_IMODE(directory.stat().st_mode)
    if mode & 0o022:
        raise RootStoreError(f"{directory} has mode {mode:04o}, others may replace the CA: chmod 700 it")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RootStoreError(f"cannot read {path}: {error.strerror}") from error


def _write(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
