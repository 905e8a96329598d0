"""Certificates that are signed elsewhere: asked for once for all who wait, few at a time, and judged before use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ca.authority import DEFAULT_LIFETIME, PrivateKey, PublicKey
from ca.identity import SpiffeId, WorkloadIdentity
from ca.signer import Signer, SignerError, verified
from ca.signing_request import signing_request

_AT_ONCE: Final = 16
"""Requests that a signer has at a time: each is some requests to the API server, and a connection to it."""

_BEGINS_WITHIN: Final = 60.0
"""Seconds after which who waits for its turn is told so, rather than left waiting for as long as a signer is away."""

Signed = tuple[PrivateKey, tuple[x509.Certificate, ...]]
"""A key that was made here, and its chain."""


class ExternalSigning:
    """What `signer` signs, which must lead to one of `roots`, or of those that the mesh trusts beside.

    Where there are lists of what its CAs have `revoked`, each CA that issues for workloads needs one: Envoy refuses the
    certificates of those that have none. `name` is what the mesh's settings call the signer (MeshConfig:
    caCertificates.certSigners).
    """

    def __init__(
        self,
        name: str,
        signer: Signer,
        roots: Sequence[x509.Certificate] = (),
        revoked: Sequence[x509.CertificateRevocationList] = (),
        *,
        lifetime: timedelta = DEFAULT_LIFETIME,
    ) -> None:
        self.name = name
        self._signer = signer
        self._lifetime = lifetime
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._asked: dict[WorkloadIdentity, asyncio.Task[Signed]] = {}
        self.roots = tuple(roots)
        self.further_roots: tuple[x509.Certificate, ...] = ()
        """Of the mesh's settings."""
        self.revoked = {each.issuer: each for each in revoked}

    async def chain(
        self, csr_pem: bytes, key: PublicKey, spiffe_ids: Sequence[SpiffeId], lifetime: timedelta
    ) -> tuple[x509.Certificate, ...]:
        """The leaf for a request and its intermediates. Raises `SignerError`."""
        async with self._place():
            answer = await self._signer.sign(csr_pem, lifetime=lifetime)
        chain = verified(
            answer,
            key=key,
            spiffe_ids=spiffe_ids,
            roots=(*self.roots, *self.further_roots),
            now=datetime.now(UTC),
            lifetime=lifetime,
        )
        issuer = chain[0].issuer
        if self.revoked and issuer not in self.revoked:
            raise SignerError(f"proxies would refuse it: there is no revocation list of {issuer.rfc4514_string()!r}")
        return chain

    async def workload(self, identity: WorkloadIdentity) -> Signed:
        """A new key of a workload, with its chain; the same for all who ask meanwhile, and made to the end also when
        they go, for the one who comes again. Raises `SignerError`.
        """
        task = self._asked.get(identity)
        if task is None:
            task = self._asked[identity] = asyncio.create_task(self._make(identity))
            task.add_done_callback(lambda done: self._forget(identity, done))
        return await asyncio.shield(task)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_BEGINS_WITHIN):
                await self._at_once.acquire()
        except TimeoutError:
            raise SignerError(
                f"signer {self.name} is behind: others have waited for it for {_BEGINS_WITHIN:g} s"
            ) from None
        try:
            yield
        finally:
            self._at_once.release()

    async def _make(self, identity: WorkloadIdentity) -> Signed:
        key = ec.generate_private_key(ec.SECP256R1())
        ids = (identity.spiffe_id,)
        return key, await self.chain(signing_request(key, ids), key.public_key(), ids, self._lifetime)

    def _forget(self, identity: WorkloadIdentity, done: asyncio.Task[Signed]) -> None:
        del self._asked[identity]
        if not done.cancelled():
            done.exception()  # nobody may be left to hear of it
