# ruff: noqa: S311 - jitter is no secret
import random

import pytest

from ca import SpiffeId, WorkloadCertificates, WorkloadIdentity
from ca.secrets import root_secret, workload_secret
from dragoman.codec import SECRET, decode
from tests.ca.conftest import NOW


@pytest.fixture
def certificates(root) -> WorkloadCertificates:
    return WorkloadCertificates(root, lambda: NOW, random.Random(1))


@pytest.fixture
def issued(certificates):
    identity = WorkloadIdentity(SpiffeId("cluster.local", "default", "client"), "client-v1")
    return certificates.acquire(identity, "stream")


def test_the_workload_secret_holds_chain_and_key(issued):
    encoded = workload_secret(issued)
    secret = decode(SECRET, encoded.payload)
    assert (encoded.type_url, encoded.name, secret.name) == (SECRET, "default", "default")
    assert secret.tls_certificate.certificate_chain.inline_bytes == issued.chain_pem
    assert secret.tls_certificate.private_key.inline_bytes == issued.key_pem
    assert encoded.refs == frozenset()


def test_the_root_secret_holds_the_trust_bundle(certificates):
    encoded = root_secret(certificates.roots_pem)
    secret = decode(SECRET, encoded.payload)
    assert (encoded.name, secret.name) == ("ROOTCA", "ROOTCA")
    assert secret.validation_context.trusted_ca.inline_bytes == certificates.roots_pem


def test_a_rotated_certificate_is_another_version(certificates, issued):
    assert workload_secret(issued).version != workload_secret(certificates.rotate(issued.identity)).version
    assert workload_secret(issued) == workload_secret(issued)


def test_no_key_in_repr(issued):
    encoded = workload_secret(issued)
    key = issued.key_pem.split(b"\n")[1].decode()
    for text in (repr(encoded), str(encoded), f"{encoded}", repr([encoded]), repr({"x": encoded})):
        assert "PRIVATE" not in text
        assert key not in text
        assert "default" in text
