"""`istio.v1.auth.IstioCertificateService`: certificates for those who keep their own keys (Istio's agents, ztunnel,
clients of istio-csr).

The wire contract is Istio's (istio/api: security/v1alpha1/ca.proto; Istio: security/pkg/server/ca/server.go). Names in
a certificate are those that the caller has proved, never those in its signing request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from google.protobuf.message import DecodeError

from ca.audit import Audit, Refusal
from ca.authority import DEFAULT_LIFETIME, MAX_LIFETIME, Authority, AuthorityError, PublicKey, pem
from ca.caller import Caller
from ca.identity import SpiffeId
from ca.signer import SignerError
from ca.signing_request import RequestError, public_key_of, require_own_names
from ca.store import StoreError
from dragoman.codec import decode, encode
from dragoman.codec.messages import IstioCertificateRequest, IstioCertificateResponse
from dragoman.runtime.external_signing import ExternalSigning
from dragoman.runtime.impersonation import ImpersonationError, NodeAccounts
from xds import Refused

SERVICE: Final = "istio.v1.auth.IstioCertificateService"
METHOD: Final = "CreateCertificate"
IMPERSONATED: Final = "ImpersonatedIdentity"  # Istio: security/pkg/nodeagent, metadata of ztunnel's requests

Promise = Callable[[datetime], Awaitable[Authority]]
"""What to sign with, for a certificate that lives until then; see `ca.keeper.Keeper.promise`."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long certificates on request live."""

    default: timedelta = DEFAULT_LIFETIME
    longest: timedelta = MAX_LIFETIME

    def of(self, seconds: int) -> timedelta:
        """The life for a wish in seconds, none or nonsense being no wish; raises `RequestError` for one too long."""
        if seconds <= 0:
            return self.default
        if seconds > self.longest.total_seconds():
            raise RequestError(
                f"a life of {seconds} s is longer than the limit of {self.longest.total_seconds():.0f} s"
            )
        return timedelta(seconds=seconds)


class CertificateRequests:
    """Answers signing requests of known callers. `roots` is the trust bundle that proxies get.

    With `signing` another signs, and gets the request as it is: one that names others than its caller is refused.
    """

    def __init__(
        self,
        promise: Promise,
        roots: Callable[[], tuple[x509.Certificate, ...]],
        audit: Audit,
        nodes: NodeAccounts,
        lifetimes: Lifetimes | None = None,
        signing: ExternalSigning | None = None,
    ) -> None:
        self._signing = signing
        self._promise = promise
        self._roots = roots
        self._audit = audit
        self._nodes = nodes
        self._lifetimes = lifetimes or Lifetimes()

    async def answer(self, data: bytes, caller: Caller) -> bytes:
        """The response to an encoded request. Raises `Refused`, after the audit has been told."""
        name = " ".join(map(str, caller.identities))
        try:
            request: Any = decode(IstioCertificateRequest, data)
            key = public_key_of(request.csr)
            lifetime = self._lifetimes.of(request.validity_duration)
        except (DecodeError, RequestError) as error:
            reason = str(error) if isinstance(error, RequestError) else "this is not an IstioCertificateRequest"
            raise self._malformed(reason, caller) from None
        try:
            identities = self._identities(caller, request)
        except ImpersonationError as error:
            self._audit.refused(Refusal.no_identity, str(error), caller=name, source=caller.source)
            raise Refused(
                grpc.StatusCode.UNAUTHENTICATED, f"request impersonation authentication failure ({error})"
            ) from None
        try:
            leaf, intermediates, roots = await self._chain(request.csr, key, identities, lifetime)
        except RequestError as error:
            raise self._malformed(str(error), caller) from None
        except AuthorityError as error:
            self._audit.refused(Refusal.cannot_sign, str(error), caller=name, source=caller.source)
            passing = isinstance(error, StoreError | SignerError)
            code = grpc.StatusCode.UNAVAILABLE if passing else grpc.StatusCode.INTERNAL
            raise Refused(code, f"CSR signing error ({error})") from None
        self._audit.issued(leaf, list(map(str, identities)), caller=name, source=caller.source)
        trusted = tuple(dict.fromkeys((*roots, *self._roots())))
        chain = [pem([leaf]).decode(), *_texts(intermediates), "".join(_texts(trusted))]
        return encode(IstioCertificateResponse(cert_chain=chain))

    def _malformed(self, reason: str, caller: Caller) -> Refused:
        name = " ".join(map(str, caller.identities))
        self._audit.refused(Refusal.malformed_request, reason, caller=name, source=caller.source)
        return Refused(grpc.StatusCode.INVALID_ARGUMENT, f"CSR signing error ({reason})")

    def _identities(self, caller: Caller, request: Any) -> tuple[SpiffeId, ...]:
        impersonated = request.metadata.fields[IMPERSONATED].string_value if request.HasField("metadata") else ""
        return (self._nodes.authorize(caller, impersonated),) if impersonated else caller.identities

    async def _chain(
        self, csr: str, key: PublicKey, identities: tuple[SpiffeId, ...], lifetime: timedelta
    ) -> tuple[x509.Certificate, tuple[x509.Certificate, ...], tuple[x509.Certificate, ...]]:
        """Leaf, intermediates, and the roots of who signs. Raises `RequestError`, `AuthorityError`."""
        if self._signing is None:
            leaf, authority = await self._sign(key, identities, lifetime)
            return leaf, authority.intermediates, authority.roots
        require_own_names(csr, identities)
        leaf, *intermediates = await self._signing.chain(csr.encode(), key, identities, lifetime)
        return leaf, tuple(intermediates), ()

    async def _sign(
        self, key: PublicKey, identities: tuple[SpiffeId, ...], lifetime: timedelta
    ) -> tuple[x509.Certificate, Authority]:
        now = datetime.now(UTC)
        authority = await self._promise(now + lifetime)

        def sign() -> x509.Certificate:
            return authority.sign(key, spiffe_ids=identities, now=now, lifetime=lifetime)

        # A signature takes some 50 µs with an EC key, and a millisecond or more with RSA: streams must not wait for it.
        leaf = await asyncio.to_thread(sign) if isinstance(authority.key, rsa.RSAPrivateKey) else sign()
        return leaf, authority


class CertificateService:
    """The service in gRPC. `authenticate` says who calls, or raises `Refused`; None is nobody."""

    def __init__(
        self,
        requests: CertificateRequests,
        authenticate: Callable[[grpc.aio.ServicerContext[bytes, bytes]], Awaitable[Caller | None]],
        audit: Audit,
    ) -> None:
        self._requests = requests
        self._authenticate = authenticate
        self._audit = audit

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """For a gRPC server, beside its other services."""
        return grpc.method_handlers_generic_handler(
            SERVICE, {METHOD: grpc.unary_unary_rpc_method_handler(self._create)}
        )

    async def _create(self, data: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        self._audit.requested()
        try:
            return await self._requests.answer(data, await self._known(context))
        except Refused as refused:
            await context.abort(refused.code, refused.message)

    async def _known(self, context: grpc.aio.ServicerContext[bytes, bytes]) -> Caller:
        try:
            caller = await self._authenticate(context)
            if caller is None:
                raise Refused(grpc.StatusCode.UNAUTHENTICATED, "certificates are given over TLS only")
        except Refused as refused:
            self._audit.refused(Refusal.unauthenticated, refused.message, peer=context.peer())
            raise Refused(refused.code, f"request authenticate failure ({refused.message})") from None
        return caller


@lru_cache(maxsize=8)
def _texts(certificates: tuple[x509.Certificate, ...]) -> tuple[str, ...]:
    return tuple(pem([certificate]).decode() for certificate in certificates)
