"""One key and its certificate: made, certified, written. A process of its own, after which nothing is in memory.

The wire contract is Istio's (istio/api: security/v1alpha1/ca.proto). Its two messages are so small that they are
written and read here, field by field: Envoy's API, which has them too, takes longer to load than all the rest.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

# What a server sends is not repeated on our standard error.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from ca import core_dumps, key_folder
from ca.authority import key_pem
from dragoman.agent.schedule import Validity
from dragoman.agent.settings import Settings

_METHOD: Final = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
_TIMEOUT_SECONDS: Final = 20.0
_LONGEST_ANSWER: Final = 1 << 20


class RequestFailedError(Exception):
    """There is no certificate. `str()` says why and what to do, and holds nothing secret."""


def kept(folder: Path) -> Validity | None:
    """The certificate that is there, if its key is there, too, and it is valid; None otherwise. Raises OSError."""
    found = key_folder.read(folder)
    if found is None:
        return None
    key, chain, roots = found
    try:
        public = load_pem_private_key(key, None).public_key()
        leaf = _checked(public, chain, roots)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, RequestFailedError):
        return None
    return Validity(leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp())


def obtain(settings: Settings) -> Validity:
    """Make a key, have it certified, and replace what is in the folder.

    Raises `RequestFailedError`; what is in the folder then stays.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    # Names come from who the caller proves to be; those of a request are not looked at.
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    chain = _certified(settings, request.public_bytes(Encoding.PEM))
    if len(chain) < 2:
        raise RequestFailedError(f"{settings.server} answered with no chain that ends in a root")
    certificates, roots = b"".join(chain[:-1]), chain[-1]
    try:
        leaf = _checked(key.public_key(), certificates, roots)
    except ValueError:
        raise RequestFailedError(f"{settings.server} answered with something else than certificates") from None
    try:
        key_folder.write(Path(settings.folder), key=key_pem(key), chain=certificates, roots=roots)
    except OSError as error:
        raise RequestFailedError(f"cannot write to {settings.folder}: {error.strerror}") from None
    # It is dated back for clocks that lag: its life is counted from now.
    return Validity(time.time(), leaf.not_valid_after_utc.timestamp())


def _certified(settings: Settings, csr: bytes) -> list[bytes]:
    try:
        token = Path(settings.token_file).read_text().strip()
        roots = Path(settings.root_file).read_bytes()
    except OSError as error:
        raise RequestFailedError(f"cannot read {error.filename}: {error.strerror}") from None
    options = [
        ("grpc.ssl_target_name_override", settings.server_name),
        ("grpc.max_receive_message_length", _LONGEST_ANSWER),
    ]
    with grpc.secure_channel(settings.server, grpc.ssl_channel_credentials(roots), options=options) as channel:
        call = channel.unary_unary(_METHOD, None, None)
        try:
            answer = call(
                encode_request(csr, settings.lifetime_seconds),
                timeout=_TIMEOUT_SECONDS,
                metadata=(("authorization", f"Bearer {token}"),),
            )
        except grpc.RpcError as error:
            # Its other texts have the request's metadata in them.
            raise RequestFailedError(f"{settings.server}: {error.code().name}: {error.details()}") from None
    try:
        return list(_certificates_of(answer))
    except (IndexError, ValueError):
        raise RequestFailedError(f"{settings.server} answered with no IstioCertificateResponse") from None


def _checked(public: object, chain: bytes, roots: bytes) -> x509.Certificate:
    """The first of the chain; raises `RequestFailedError` unless it is valid now, for this key, under the roots."""
    certificates, trusted = x509.load_pem_x509_certificates(chain), x509.load_pem_x509_certificates(roots)
    leaf, now = certificates[0], datetime.now(UTC)
    if leaf.public_key() != public:
        raise RequestFailedError("the certificate is for another key")
    if not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc:
        raise RequestFailedError(
            f"the certificate is valid from {leaf.not_valid_before_utc} to {leaf.not_valid_after_utc}, and not now: "
            "compare the clocks"
        )
    for certificate, issuers in zip(certificates, [*([c] for c in certificates[1:]), trusted], strict=True):
        if not any(_issued(certificate, issuer) for issuer in issuers):
            raise RequestFailedError("the chain does not lead to the roots that came with it")
    return leaf


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def encode_request(csr: bytes, lifetime_seconds: int) -> bytes:
    """An IstioCertificateRequest: `csr` is field 1, `validity_duration` field 3."""
    lifetime = b"\x18" + _varint(lifetime_seconds) if lifetime_seconds else b""
    return b"\x0a" + _varint(len(csr)) + csr + lifetime


def _certificates_of(answer: bytes) -> Iterator[bytes]:
    """The certificates of an IstioCertificateResponse: field 1, repeated; there is no other."""
    at = 0
    while at < len(answer):
        if answer[at] != 0x0A:
            raise ValueError
        length, at = _read_varint(answer, at + 1)
        if at + length > len(answer):
            raise ValueError
        yield answer[at : at + length]
        at += length


def _varint(value: int) -> bytes:
    low, high = value & 0x7F, value >> 7
    return bytes((low | 0x80,)) + _varint(high) if high else bytes((low,))


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while data[at] & 0x80:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | data[at] << shift, at + 1


def main() -> int:
    """`python -m dragoman.agent.request SETTINGS [keep]`: prints since and until when there is one; with
    `keep` one that is there will do.

    Exit codes: 0 there is one, 1 there is none, and standard error says why.
    """
    core_dumps.forbid()
    settings = Settings.from_json(sys.argv[1])
    try:
        validity = kept(Path(settings.folder)) if sys.argv[2:] == ["keep"] else None
        found = validity or obtain(settings)
    except (RequestFailedError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(asdict(found)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
