"""Revocation lists as PEM."""

from __future__ import annotations

from typing import Final

from cryptography import x509

from ca.authority_files import RootStoreError

_END: Final = b"-----END X509 CRL-----"


def revocation_lists(pem: bytes, place: str) -> tuple[x509.CertificateRevocationList, ...]:
    """The lists in a file that is at `place`: one at least. Raises `RootStoreError`."""
    try:
        return tuple(map(x509.load_pem_x509_crl, _blocks(pem)))
    except (ValueError, x509.InvalidVersion) as error:
        raise RootStoreError(f"{place} holds no PEM revocation list: {error}") from error


def _blocks(pem: bytes) -> list[bytes]:
    blocks = [block + _END for block in pem.split(_END)[:-1]]
    if not blocks:
        raise ValueError("no list in it")
    return blocks
