"""A certificate signing request, as far as it is trusted: its public key, and the proof that the caller has the private
one. Names in it are never taken over; where somebody else signs, who might, they are required to be the caller's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from ca.authority import AuthorityError, PrivateKey, PublicKey, accept_key
from ca.identity import SpiffeId

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


def signing_request(key: PrivateKey, spiffe_ids: Sequence[SpiffeId]) -> bytes:
    """A PEM request to certify the public half of `key` for these ids."""
    names = [x509.UniformResourceIdentifier(str(each)) for each in spiffe_ids]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    # RFC 5280, section 4.2.1.6: critical, because the subject is empty.
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def require_own_names(csr: str, spiffe_ids: Sequence[SpiffeId]) -> None:
    """Refuse a request that names others than its caller, or asks for anything beside names: a signer may grant
    whatever stands in it. It may name nobody. `csr` has been read by `public_key_of`. Raises `RequestError`.
    """
    request = x509.load_pem_x509_csr(csr.encode())
    if any(attribute.value for attribute in request.subject):  # an empty O is what Istio's agent writes
        raise RequestError("the signing request has a subject: leave it empty, names are SPIFFE ids")
    try:
        extensions = tuple(request.extensions)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise RequestError("the signing request's extensions cannot be read") from None
    for extension in extensions:
        if not isinstance(extension.value, x509.SubjectAlternativeName):
            raise RequestError(f"the signing request asks for {extension.oid.dotted_string}, beside names")
        foreign = [name for name in extension.value if not _is_one_of(name, spiffe_ids)]
        missing = len(list(extension.value)) < len(spiffe_ids)
        if foreign or missing:
            own = ", ".join(map(str, spiffe_ids))
            raise RequestError(f"the signing request names others than its caller, who is {own}")


def _is_one_of(name: x509.GeneralName, spiffe_ids: Sequence[SpiffeId]) -> bool:
    return isinstance(name, x509.UniformResourceIdentifier) and name.value in map(str, spiffe_ids)
