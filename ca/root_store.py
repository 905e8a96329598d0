"""The authority on disk: a directory with Istio's file names, ours to create or plugged in by the operator.

`ca-cert.pem` signs with `ca-key.pem`; `root-cert.pem` is the trust bundle; `cert-chain.pem` leads from the signing
certificate to the root (Istio: "Plug in CA Certificates"). A `kubernetes.io/tls` layout (`tls.crt`, `tls.key`,
`ca.crt`) is read too.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ca.authority import Authority, AuthorityError, key_pem, new_root, pem


@dataclass(frozen=True, slots=True)
class _Layout:
    certificate: str
    key: str
    root: str
    chain: str | None

    def required(self) -> tuple[str, ...]:
        return (self.certificate, self.key, self.root)


_ISTIO: Final = _Layout("ca-cert.pem", "ca-key.pem", "root-cert.pem", "cert-chain.pem")
_KUBERNETES_TLS: Final = _Layout("tls.crt", "tls.key", "ca.crt", None)


class RootStoreError(AuthorityError):
    """The directory holds no usable authority. `str()` names the file and the remedy; never a key."""


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
    layout = _layout_of(directory)
    if private:
        _require_private(directory, layout.key)
    certificates = _certificates(directory, layout.certificate)
    roots = tuple(_certificates(directory, layout.root))
    chain = certificates
    if layout.chain is not None and (directory / layout.chain).exists():
        chain = certificates[:1] + _certificates(directory, layout.chain)
    # Bundles repeat the signing certificate, or end in the root; peers need neither twice, and have the root already.
    intermediates = tuple(dict.fromkeys(c for c in chain if c not in roots))
    try:
        return Authority(certificates[0], _key(directory, layout.key), roots, intermediates)
    except AuthorityError as error:
        raise RootStoreError(f"{directory}: {error}") from error


def create(directory: Path, authority: Authority) -> None:
    """Write `authority` into `directory`, which must not exist or be empty; done wholly or not at all.

    Another process that does the same at the same time wins silently, as both then `load` the same authority.
    Raises `RootStoreError` when the directory cannot be made.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))  # 0700
    try:
        chain = authority.intermediates or (authority.certificate,)
        _write(staged / _ISTIO.key, key_pem(authority.key), 0o600)
        _write(staged / _ISTIO.certificate, pem([authority.certificate]), 0o644)
        _write(staged / "cert-chain.pem", pem(chain), 0o644)
        _write(staged / _ISTIO.root, authority.roots_pem, 0o644)
        # rename() replaces an empty directory in one step and refuses any other.
        os.rename(staged, directory)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise RootStoreError(
                f"cannot create {directory}: {error.strerror}; name a directory that does not exist yet"
            ) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _layout_of(directory: Path) -> _Layout:
    if not directory.is_dir():
        raise RootStoreError(f"{directory} is not a directory")
    for layout in (_ISTIO, _KUBERNETES_TLS):
        missing = [name for name in layout.required() if not (directory / name).exists()]
        if not missing:
            return layout
        if len(missing) < len(layout.required()):
            raise RootStoreError(f"{directory} is incomplete: {', '.join(missing)} missing")
    expected = " or ".join(", ".join(layout.required()) for layout in (_ISTIO, _KUBERNETES_TLS))
    raise RootStoreError(f"{directory} holds no CA: expected {expected}")


def _require_private(directory: Path, key: str) -> None:
    path = directory / key
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise RootStoreError(f"{path} has mode {mode:04o}, others may read the CA key: chmod 600 it")
    mode = stat.S_IMODE(directory.stat().st_mode)
    if mode & 0o022:
        raise RootStoreError(f"{directory} has mode {mode:04o}, others may replace the CA: chmod 700 it")


def _certificates(directory: Path, name: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(directory / name))
    except ValueError as error:
        raise RootStoreError(f"{directory / name} holds no PEM certificate: {error}") from error


def _key(directory: Path, name: str) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    path = directory / name
    try:
        key = load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError):
        # The cause could quote the file.
        raise RootStoreError(f"{path} holds no unencrypted PEM private key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise RootStoreError(f"{path}: a key of this type is not supported, use EC or RSA")
    return key


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
