"""Roots that the mesh's settings add to the trust bundle (MeshConfig.caCertificates)."""

from __future__ import annotations

from collections.abc import Iterator

import structlog
from cryptography import x509

from crds.meshconfig import CertificateData, MeshConfig
from dragoman.engine import Graph
from dragoman.mesh.settings import mesh_config
from dragoman.runtime.identities import Identities

log = structlog.get_logger(__name__)


class AddedRoots:
    """Follows the settings. What is no PEM of certificates is left out, and said."""

    def __init__(self, graph: Graph, identities: Identities) -> None:
        self._settings = graph.mount(mesh_config.call())
        self._identities = identities
        self._before: MeshConfig | None = None

    def follow(self) -> None:
        """Take over what the settings say now."""
        found = self._settings.value()
        if not isinstance(found, MeshConfig) or found is self._before:
            return
        changed = self._before is None or found.ca_certificates != self._before.ca_certificates
        self._before = found
        if changed:
            signing = self._identities.signing
            self._identities.also_trust(tuple(_roots(found, signing.name if signing is not None else None)))


def _roots(settings: MeshConfig, signer: str | None) -> Iterator[x509.Certificate]:
    own = {settings.trust_domain, *settings.trust_domain_aliases}
    for number, data in enumerate(settings.ca_certificates):
        reason = _objection(data, own, signer)
        if reason is None:
            try:
                yield from x509.load_pem_x509_certificates(data.pem.encode())
                continue
            except (ValueError, x509.InvalidVersion):
                reason = "it is no PEM of certificates"
        log.warning("root of the settings left out", field=f"caCertificates[{number}]", reason=reason)


def _objection(data: CertificateData, own: set[str], signer: str | None) -> str | None:
    """Why a root may not vouch for everybody: proxies have one bundle for all trust domains, and a root that is meant
    for another one could else sign in the name of ours."""
    if not data.pem:
        return "it has no pem"
    if data.trust_domains:
        foreign = sorted(set(data.trust_domains) - own)
        return f"it is for other trust domains: {', '.join(foreign)}" if foreign else None
    if data.cert_signers and signer not in data.cert_signers:
        return "it is for external signers that are not in use"
    return None
