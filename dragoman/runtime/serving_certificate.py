"""The control plane's own certificate, for its TLS ports."""

from __future__ import annotations

import secrets
import ssl
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from ca.authority import Authority, AuthorityError, pem
from xds import modern

log = structlog.get_logger(__name__)

DNS_NAMES: Final = (
    "istiod.istio-system.svc",
    "istiod.istio-system.svc.cluster.local",
    "istiod.istio-system",
    "dragoman.istio-system.svc",
    "dragoman.istio-system.svc.cluster.local",
    "localhost",
)
"""Istio's name (Istio: pilot/pkg/bootstrap/server.go, getDNSNames), which bootstraps check, and our own Service's."""

ADDRESSES: Final = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
LIFETIME: Final = timedelta(hours=24)

_PATIENCE: Final = timedelta(seconds=30)
"""How long to go on with what there is when the authority cannot sign, before asking it again."""


class ServingCertificate:
    """A certificate under the mesh's authority, renewed at half of its life and when the authority changes; clients'
    certificates are verified under `roots`.

    `context` is for `xds.XdsServer.listen_securely`: it is asked for each connection, and renews when that is due, so
    that a new certificate or trust bundle counts from the next connection on and no stream is dropped. `protocols` are
    what is spoken inside (ALPN). The key is made in memory and is nowhere else in the clear.
    """

    def __init__(
        self,
        authority: Callable[[], Authority],
        roots: Callable[[], Sequence[x509.Certificate]],
        *,
        dns_names: Sequence[str] = DNS_NAMES,
        addresses: Sequence[IPv4Address | IPv6Address] = ADDRESSES,
        protocols: Sequence[str] = ("h2",),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        lifetime: timedelta = LIFETIME,
    ) -> None:
        self._authority = authority
        self._roots = roots
        self._dns_names = tuple(dns_names)
        self._addresses = tuple(addresses)
        self._protocols = tuple(protocols)
        self._clock = clock
        self._lifetime = lifetime
        self._made_of: tuple[Authority, tuple[x509.Certificate, ...]] | None = None
        self._renew_at = datetime.min.replace(tzinfo=UTC)
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """The TLS settings for one more connection. Raises `AuthorityError` if there never was a certificate."""
        now, parts = self._clock(), (self._authority(), tuple(self._roots()))
        if self._context is None or parts != self._made_of or now >= self._renew_at:
            try:
                self._context = self._make(*parts, now)
            except AuthorityError as error:
                if self._context is None:
                    raise
                log.error("serving certificate not renewed", error=str(error))
                self._renew_at = now + _PATIENCE
            self._made_of = parts
        return self._context

    def _make(self, authority: Authority, roots: Sequence[x509.Certificate], now: datetime) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = authority.sign(
            key.public_key(),
            dns_names=self._dns_names,
            ip_addresses=self._addresses,
            now=now,
            lifetime=self._lifetime,
        )
        context = modern(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        context.set_alpn_protocols(self._protocols)
        _load(context, pem([certificate]) + authority.intermediates_pem, key)
        context.load_verify_locations(cadata=pem(roots).decode())
        # Asked for, and verified when given: who has none yet brings a token.
        context.verify_mode = ssl.CERT_OPTIONAL
        self._renew_at = now + (certificate.not_valid_after_utc - now) / 2
        log.info(
            "serving certificate issued",
            names=self._dns_names,
            serial=f"{certificate.serial_number:x}",
            not_after=certificate.not_valid_after_utc.isoformat(),
        )
        return context


def _load(context: ssl.SSLContext, chain: bytes, key: ec.EllipticCurvePrivateKey) -> None:
    """Python's ssl reads keys from files only. This one is encrypted for the moment that it is there, with a password
    that never leaves this function (a file in memory will not do: a process that refuses core dumps may not open those
    under /proc unless it is root's, proc(5))."""
    password = secrets.token_bytes(32).hex().encode()
    sealed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password))
    with tempfile.TemporaryDirectory(prefix="dragoman-") as folder:
        (file := Path(folder) / "certificate.pem").write_bytes(chain + sealed)
        context.load_cert_chain(file, password=password)
