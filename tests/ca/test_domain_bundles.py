"""Roots by trust domain, and what Envoy would refuse of our own."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from ca.authority import Authority, new_root, pem
from ca.domain_bundles import MixedDomainsError, domain_bundles
from tests.ca.conftest import NOW

FOREIGN = new_root("foreign", now=NOW)
NAMED = {"elsewhere.example": FOREIGN.roots}


def nothing_revoked(authority: Authority) -> x509.CertificateRevocationList:
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.certificate.subject)
    return builder.last_update(NOW).next_update(NOW).sign(authority.key, hashes.SHA256())


def test_ours_are_good_for_all_of_ours_and_a_named_one_for_its_own(root: Authority) -> None:
    old = new_root("old", now=NOW)
    named = {"b": (*old.roots, *root.roots, *old.roots), "nobody.example": (), **NAMED}
    assert domain_bundles(("b", "a"), root.roots, named) == {
        "a": root.roots_pem,
        "b": pem((*root.roots, *old.roots)),
        "elsewhere.example": FOREIGN.roots_pem,
    }


def test_roots_that_envoy_would_not_end_a_chain_at(intermediate: Authority) -> None:
    with pytest.raises(MixedDomainsError, match="not self-signed"):
        domain_bundles(("a",), intermediate.intermediates, NAMED)


def test_with_revocations_every_authority_of_ours_has_a_list(root: Authority, intermediate: Authority) -> None:
    issuing, _ = intermediate.intermediates
    lists = {issuing.subject: nothing_revoked(intermediate), root.certificate.subject: nothing_revoked(root)}
    with pytest.raises(MixedDomainsError, match="policy CA"):
        domain_bundles(("a",), root.roots, NAMED, intermediates=intermediate.intermediates, revoked=lists)
    bundles = domain_bundles(("a",), root.roots, NAMED, intermediates=(issuing,), revoked=lists)
    assert bundles["a"].count(b"BEGIN X509 CRL") == 2
    assert bundles["elsewhere.example"] == FOREIGN.roots_pem, "others have their own"
