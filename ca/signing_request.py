"""A certificate signing request, as far as it is trusted: its public key, and the proof that the caller has the private
one. Names in it are never looked at."""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from ca.authority import AuthorityError, PublicKey, accept_key

MAX_BYTES: Final = 64 * 1024
"""Longest request that is read. One with an RSA key of 4096 bits has 2 kB."""

_BEGIN: Final = "-----BEGIN "


class RequestError(ValueError):
    """The request cannot be used. `str()` says why and quotes nothing of it."""


def public_key_of(csr: str) -> PublicKey:
    """The key to certify of a PEM request (PKCS #10). Raises `RequestError`."""
    if len(csr) > MAX_BYTES:
        raise RequestError(f"the signing request is longer than {MAX_BYTES} bytes")
    if csr.count(_BEGIN) != 1:
        raise RequestError("the signing request is not one PEM document")
    try:
        request = x509.load_pem_x509_csr(csr.encode())
        key = request.public_key()
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise RequestError("the signing request is no PEM of PKCS #10") from None
    try:
        # Before the signature is verified: with a huge key that takes long.
        accepted = accept_key(key)
    except AuthorityError as error:
        raise RequestError(f"the signing request's key is not accepted: {error}") from None
    try:
        valid = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm):
        valid = False
    if not valid:
        raise RequestError("the signing request's signature is wrong: its sender does not have the private key")
    return accepted
