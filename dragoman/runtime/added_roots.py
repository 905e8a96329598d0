"""Roots that the mesh's settings add to the trust bundle (MeshConfig.caCertificates)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import structlog
from cryptography import x509

from crds.meshconfig import CertificateData, MeshConfig
from dragoman.callers.fetch import Fetcher
from dragoman.engine import Graph
from dragoman.mesh.settings import mesh_config
from dragoman.runtime.identities import Identities
from dragoman.runtime.key_sets import KeyFetching
from dragoman.runtime.trust_bundle_store import TrustBundleStore
from dragoman.runtime.trust_bundles import TrustBundles

log = structlog.get_logger(__name__)

_KEPT_IN: Final = "trust-bundles.json"


class AddedRoots:
    """Follows the settings. What is no PEM of certificates and no bundle of somebody else's is left out, and said.

    Bundles are fetched from where keys of token issuers may be, and kept beside those.
    """

    def __init__(
        self,
        graph: Graph,
        identities: Identities,
        fetching: KeyFetching = KeyFetching(),  # noqa: B008 - frozen
    ) -> None:
        self._settings = graph.mount(mesh_config.call())
        self._identities = identities
        self._before: MeshConfig | None = None
        self._written: tuple[x509.Certificate, ...] = ()
        self._urls: tuple[str, ...] = ()
        kept_in = fetching.kept_in.with_name(_KEPT_IN) if fetching.kept_in is not None else None
        self.bundles = TrustBundles(Fetcher(fetching.addresses), self._trust, TrustBundleStore(kept_in))

    def follow(self) -> None:
        """Take over what the settings say now."""
        found = self._settings.value()
        if not isinstance(found, MeshConfig) or found is self._before:
            return
        changed = self._before is None or found.ca_certificates != self._before.ca_certificates
        self._before = found
        if changed:
            signing = self._identities.signing
            accepted = tuple(_accepted(found, signing.name if signing is not None else None))
            self._written = tuple(root for _, roots in accepted for root in roots)
            self._urls = tuple(dict.fromkeys(data.spiffe_bundle_url for data, _ in accepted if data.spiffe_bundle_url))
            self.bundles.follow(self._urls)
            self._trust()

    def _trust(self) -> None:
        fetched = (root for url in self._urls for root in self.bundles.roots(url))
        self._identities.also_trust(tuple(dict.fromkeys((*self._written, *fetched))))


def _accepted(
    settings: MeshConfig, signer: str | None
) -> Iterator[tuple[CertificateData, tuple[x509.Certificate, ...]]]:
    """Those that may vouch for everybody, with the roots that are written there."""
    own = {settings.trust_domain, *settings.trust_domain_aliases}
    for number, data in enumerate(settings.ca_certificates):
        reason = _objection(data, own, signer)
        if reason is None:
            try:
                yield data, tuple(x509.load_pem_x509_certificates(data.pem.encode())) if data.pem else ()
                continue
            except (ValueError, x509.InvalidVersion):
                reason = "it is no PEM of certificates"
        log.warning("root of the settings left out", field=f"caCertificates[{number}]", reason=reason)


def _objection(data: CertificateData, own: set[str], signer: str | None) -> str | None:
    """Why a root may not vouch for everybody: proxies have one bundle for all trust domains, and a root that is meant
    for another one could else sign in the name of ours."""
    if bool(data.pem) == bool(data.spiffe_bundle_url):
        return "it has no pem and no spiffeBundleUrl" if not data.pem else "pem and spiffeBundleUrl exclude each other"
    if data.spiffe_bundle_url and not _is_https(data.spiffe_bundle_url):
        return "its spiffeBundleUrl is no https URL"
    if data.trust_domains:
        foreign = sorted(set(data.trust_domains) - own)
        return f"it is for other trust domains: {', '.join(foreign)}" if foreign else None
    if data.cert_signers and signer not in data.cert_signers:
        return "it is for external signers that are not in use"
    return None


def _is_https(url: str) -> bool:
    try:
        return urlsplit(url).scheme == "https"
    except ValueError:
        return False
