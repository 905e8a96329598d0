"""Callers with a certificate of this mesh."""

from __future__ import annotations

from collections.abc import Callable, Collection

from cryptography import x509

from ca.caller import Caller
from ca.identity import InvalidIdentityError, SpiffeId
from dragoman.callers.credentials import Credentials, NotAuthenticatedError


class ClientCertificate:
    """Believes the SPIFFE id of a certificate that TLS has verified (Istio: security/pkg/server/ca/authenticate:
    ClientCertAuthenticator).

    `trust_domains` are the mesh's own and its aliases: the bundle may hold roots of others, who speak for themselves
    only.
    """

    name = "client-certificate"

    def __init__(self, trust_domains: Callable[[], Collection[str]]) -> None:
        self._trust_domains = trust_domains

    async def authenticate(self, credentials: Credentials) -> Caller | None:
        if credentials.certificate is None:
            return None
        certificate = x509.load_der_x509_certificate(credentials.certificate)
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
            uris = []
        # X.509-SVID, section 2: exactly one URI.
        if len(uris) != 1:
            raise NotAuthenticatedError(
                f"the certificate has {len(uris)} URIs instead of the one SPIFFE id of a workload"
            )
        try:
            identity = SpiffeId.parse(uris[0])
        except InvalidIdentityError as error:
            raise NotAuthenticatedError(f"the certificate is not a workload's: {error}") from None
        if identity.trust_domain not in self._trust_domains():
            raise NotAuthenticatedError(
                f"the certificate is of trust domain {identity.trust_domain!r}, which is not this mesh's"
            )
        return Caller((identity,), self.name, expires_at=certificate.not_valid_after_utc)
