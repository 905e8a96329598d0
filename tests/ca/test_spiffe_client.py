"""What a SPIFFE library that we did not write makes of certificates and bundles (py-spiffe)."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from spiffe import TrustDomain, X509Bundle, X509Svid

from ca.authority import Authority, new_root
from ca.bundle import CONFIG_MAP_KEY, config_map_data
from ca.identity import SpiffeId, WorkloadIdentity
from ca.workload_certificates import WorkloadCertificates

WEB = WorkloadIdentity(SpiffeId("cluster.local", "shop", "web"), "web")


@pytest.fixture
def authority() -> Authority:
    return new_root("cluster.local", now=datetime.now(UTC))


def test_a_workloads_certificate_is_an_x509_svid(authority: Authority) -> None:
    jitter = random.Random(1)  # noqa: S311 - not a secret
    issued = WorkloadCertificates(authority, lambda: datetime.now(UTC), jitter).acquire(WEB, "stream")
    svid = X509Svid.parse(issued.chain_pem, issued.key_pem)
    assert str(svid.spiffe_id) == "spiffe://cluster.local/ns/shop/sa/web"


def test_the_roots_that_every_namespace_has_are_an_x509_bundle(authority: Authority) -> None:
    data = config_map_data(authority.roots)[CONFIG_MAP_KEY].encode()
    bundle = X509Bundle.parse(TrustDomain("cluster.local"), data)
    assert set(bundle.x509_authorities) == set(authority.roots)
