"""Roots that the mesh's settings add to those of the CA (MeshConfig.caCertificates).

One that is for single trust domains verifies their certificates only, so that whoever holds it cannot sign in the name
of the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import structlog
from cryptography import x509

from ca.identity import is_trust_domain
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
        self._domains: tuple[str, ...] = ()
        self._accepted: tuple[_Accepted, ...] = ()
        kept_in = fetching.kept_in.with_name(_KEPT_IN) if fetching.kept_in is not None else None
        self.bundles = TrustBundles(Fetcher(fetching.addresses), self._trust, TrustBundleStore(kept_in))

    def follow(self) -> None:
        """Take over what the settings say now."""
        found = self._settings.value()
        if not isinstance(found, MeshConfig) or found is self._before:
            return
        changed = self._before is None or _deciding(found) != _deciding(self._before)
        self._before = found
        if changed:
            signing = self._identities.signing
            self._domains = tuple(filter(is_trust_domain, _own(found)))
            self._accepted = tuple(_accepted(found, signing.name if signing is not None else None))
            self.bundles.follow(dict.fromkeys(each.url for each in self._accepted if each.url))
            self._trust()

    def _trust(self) -> None:
        for_all: list[x509.Certificate] = []
        named: defaultdict[str, list[x509.Certificate]] = defaultdict(list)
        for each in self._accepted:
            roots = (*each.roots, *self.bundles.roots(each.url))
            domains = each.trust_domains
            if not domains or domains.issuperset(self._domains):
                for_all += roots
                domains = domains.difference(self._domains)
            for domain in sorted(domains):
                named[domain] += roots
        self._identities.also_trust(tuple(dict.fromkeys(for_all)), named, self._domains)


def _own(settings: MeshConfig) -> tuple[str, ...]:
    return tuple(dict.fromkeys((settings.trust_domain, *settings.trust_domain_aliases)))


def _deciding(settings: MeshConfig) -> tuple[object, ...]:
    return _own(settings), settings.ca_certificates


class _Accepted(NamedTuple):
    """An entry of the settings: the roots that are written there, or where they are; `trust_domains` are those that
    they are for, none for all of ours."""

    roots: tuple[x509.Certificate, ...]
    url: str
    trust_domains: frozenset[str]


def _accepted(settings: MeshConfig, signer: str | None) -> Iterator[_Accepted]:
    """The entries that can be used."""
    for number, data in enumerate(settings.ca_certificates):
        reason = _objection(data, signer)
        if reason is None:
            try:
                roots = tuple(x509.load_pem_x509_certificates(data.pem.encode())) if data.pem else ()
                yield _Accepted(roots, data.spiffe_bundle_url, frozenset(data.trust_domains))
                continue
            except (ValueError, x509.InvalidVersion):
                reason = "it is no PEM of certificates"
        log.warning("root of the settings left out", field=f"caCertificates[{number}]", reason=reason)


def _objection(data: CertificateData, signer: str | None) -> str | None:
    """Why an entry is of no use."""
    if bool(data.pem) == bool(data.spiffe_bundle_url):
        return "it has no pem and no spiffeBundleUrl" if not data.pem else "pem and spiffeBundleUrl exclude each other"
    if data.spiffe_bundle_url and not _is_https(data.spiffe_bundle_url):
        return "its spiffeBundleUrl is no https URL"
    if any(not is_trust_domain(name) for name in data.trust_domains):
        return "its trustDomains are no trust domains"
    if not data.trust_domains and data.cert_signers and signer not in data.cert_signers:
        return "it is for external signers that are not in use"
    return None


def _is_https(url: str) -> bool:
    try:
        return urlsplit(url).scheme == "https"
    except ValueError:
        return False
