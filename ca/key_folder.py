"""The folder in which a pod keeps its key and certificates.

Files are called as Istio's agent calls them (Istio: security/pkg/nodeagent/cache, OUTPUT_CERTS), and replaced all at
once as Kubernetes does in volumes: they are links through `..data`, which is renamed. Envoy watches for that rename.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

KEY_FILE: Final = "key.pem"
CHAIN_FILE: Final = "cert-chain.pem"
ROOT_FILE: Final = "root-cert.pem"

_DATA: Final = "..data"
_VERSION: Final = "..version-"


def write(folder: Path, *, key: bytes, chain: bytes, roots: bytes) -> None:
    """Replace all three files at once, readable for their owner only. Raises OSError; what was there then stays."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    version = Path(tempfile.mkdtemp(prefix=_VERSION, dir=folder))  # mode 0700
    try:
        for name, content in ((KEY_FILE, key), (CHAIN_FILE, chain), (ROOT_FILE, roots)):
            _write_file(version / name, content)
            link = folder / name
            if not link.is_symlink():
                # Before `..data` is there it leads nowhere, and nobody sees half of a version.
                link.unlink(missing_ok=True)
                link.symlink_to(f"{_DATA}/{name}")
        staged = folder / f"{_DATA}-staged"
        staged.unlink(missing_ok=True)
        staged.symlink_to(version.name)
        staged.replace(folder / _DATA)
    except BaseException:
        shutil.rmtree(version, ignore_errors=True)
        raise
    for old in folder.glob(f"{_VERSION}*"):
        if old.name != version.name:
            shutil.rmtree(old, ignore_errors=True)


def read(folder: Path) -> tuple[bytes, bytes, bytes] | None:
    """Key, chain and roots of one version; None when there are none. Raises OSError."""
    with suppress(FileNotFoundError):
        # One version, whatever is renamed meanwhile.
        version = folder / os.readlink(folder / _DATA)
        key, chain, roots = ((version / name).read_bytes() for name in (KEY_FILE, CHAIN_FILE, ROOT_FILE))
        return key, chain, roots
    return None


def _write_file(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
