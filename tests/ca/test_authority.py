import subprocess
from datetime import datetime, timedelta
from shutil import which

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from ca.authority import Authority, AuthorityError, new_root, pem, random_serial
from ca.identity import SpiffeId
from tests.ca.conftest import issue_intermediate

CLIENT = SpiffeId("cluster.local", "default", "client")
KEY = ec.generate_private_key(ec.SECP256R1())
HOUR = timedelta(hours=1)


def sign(authority: Authority, now: datetime, **fields: object) -> x509.Certificate:
    return authority.sign(
        KEY.public_key(),
        **{"spiffe_ids": [CLIENT], "dns_names": ["client.default.wl.cluster.local"], **fields},
        now=now,
    )


def extension(certificate: x509.Certificate, kind: type) -> x509.Extension:
    return certificate.extensions.get_extension_for_class(kind)


def test_the_leaf_names_the_workload_and_nothing_else(root, now):
    leaf = sign(root, now)
    names = extension(leaf, x509.SubjectAlternativeName)
    assert list(leaf.subject) == []
    assert names.critical
    assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == [str(CLIENT)]
    assert names.value.get_values_for_type(x509.DNSName) == ["client.default.wl.cluster.local"]
    assert len(names.value) == 2


def test_what_the_leaf_may_be_used_for(root, now):
    leaf = sign(root, now)
    usage = extension(leaf, x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_encipherment
    assert not usage.key_cert_sign
    assert not extension(leaf, x509.BasicConstraints).value.ca
    assert set(extension(leaf, x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }


def test_an_rsa_leaf_may_also_encipher_keys(root, now):
    key = rsa.generate_private_key(65537, 2048)
    leaf = root.sign(key.public_key(), spiffe_ids=[CLIENT], now=now)
    assert extension(leaf, x509.KeyUsage).value.key_encipherment


def test_lifetime_is_counted_from_now_and_backdated_for_lagging_clocks(root, now):
    leaf = sign(root, now + HOUR, lifetime=HOUR)
    assert leaf.not_valid_before_utc == now + HOUR - timedelta(minutes=2)
    assert leaf.not_valid_after_utc == now + 2 * HOUR


def test_the_default_lifetime_is_a_day(root, now):
    assert sign(root, now).not_valid_after_utc == now + timedelta(days=1)


def test_nothing_outlives_its_authority(now):
    root = new_root("cluster.local", now=now, lifetime=HOUR)
    assert sign(root, now, lifetime=2 * HOUR).not_valid_after_utc == now + HOUR
    below = issue_intermediate(new_root("cluster.local", now=now), "short", days=2)
    lower = issue_intermediate(below, "longer than its issuer", days=30)
    assert sign(lower, now, lifetime=timedelta(days=9)).not_valid_after_utc == now + timedelta(days=2)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"lifetime": timedelta(days=91)}, "exceeds the limit of 90 days"),
        ({"lifetime": timedelta(0)}, "below the minimum"),
        ({"lifetime": timedelta(hours=-1)}, "below the minimum"),
        ({"spiffe_ids": [], "dns_names": []}, "must name somebody"),
    ],
)
def test_what_is_not_signed(root, now, fields, complaint):
    with pytest.raises(AuthorityError, match=complaint):
        sign(root, now, **fields)


def test_ninety_days_are_the_limit(root, now):
    assert sign(root, now, lifetime=timedelta(days=90)).not_valid_after_utc == now + timedelta(days=90)


def test_an_expired_authority_says_so(now):
    root = new_root("cluster.local", now=now, lifetime=HOUR)
    with pytest.raises(AuthorityError, match="expires at 2026-03-01T13:00:00"):
        sign(root, now + HOUR)


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        (lambda: rsa.generate_private_key(65537, 1024), "1024 bits is too weak"),  # noqa: S505
        (lambda: ec.generate_private_key(ec.SECP256K1()), "secp256k1 is not supported"),
        (lambda: ed25519.Ed25519PrivateKey.generate(), "is not supported: use EC or RSA"),
    ],
)
def test_keys_that_are_refused(root, now, key, complaint):
    with pytest.raises(AuthorityError, match=complaint):
        root.sign(key().public_key(), spiffe_ids=[CLIENT], now=now)


def test_serials_are_random_and_fit(root, now):
    serials = [random_serial() for _ in range(200)]
    assert len(set(serials)) == 200
    assert all(0 < serial < 2**128 for serial in serials)
    assert max(serials) > 2**120
    assert sign(root, now, serial=7).serial_number == 7


@pytest.mark.parametrize("kind", ["root", "intermediate", "rsa", "p384"])
def test_chains_verify_with_cryptographys_verifier(root, intermediate, now, kind):
    keys = {
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    }
    authority = {"root": root, "intermediate": intermediate}.get(kind) or new_root("td", now=now, key=keys[kind]())
    leaf = sign(authority, now)
    policy = PolicyBuilder().store(Store(authority.roots)).time(now)
    client = policy.build_client_verifier().verify(leaf, list(authority.intermediates))
    assert {name.value for name in client.subjects} == {str(CLIENT), "client.default.wl.cluster.local"}
    policy.build_server_verifier(x509.DNSName("client.default.wl.cluster.local")).verify(
        leaf, list(authority.intermediates)
    )


def test_another_root_does_not_verify_it(root, now):
    stranger = new_root("cluster.local", now=now)
    verifier = PolicyBuilder().store(Store(stranger.roots)).time(now).build_client_verifier()
    with pytest.raises(VerificationError):
        verifier.verify(sign(root, now), [])


def test_a_root_renewed_on_its_old_key_verifies_what_the_old_one_signed(root, now):
    renewed = new_root("cluster.local", now=now + HOUR, key=root.key)
    assert renewed.certificate != root.certificate
    verifier = PolicyBuilder().store(Store(renewed.roots)).time(now + HOUR).build_client_verifier()
    verifier.verify(sign(root, now), [])


@pytest.mark.skipif(which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
@pytest.mark.parametrize("kind", ["root", "intermediate"])
def test_chains_verify_with_openssl(root, intermediate, now, tmp_path, purpose, kind):
    authority = {"root": root, "intermediate": intermediate}[kind]
    (tmp_path / "root.pem").write_bytes(authority.roots_pem)
    (tmp_path / "chain.pem").write_bytes(pem([sign(authority, now)]) + authority.intermediates_pem)
    command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-attime", str(int(now.timestamp()))]
    subprocess.run(
        [*command, "-CAfile", "root.pem", "-untrusted", "chain.pem", "chain.pem"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )


def test_a_key_that_does_not_belong_to_the_certificate(root):
    with pytest.raises(AuthorityError, match="does not belong"):
        Authority(root.certificate, KEY, root.roots)


def test_no_roots(root):
    with pytest.raises(AuthorityError, match="no root"):
        Authority(root.certificate, root.key, ())


def test_a_chain_out_of_order(intermediate):
    with pytest.raises(AuthorityError, match="does not start with the CA certificate"):
        Authority(intermediate.certificate, intermediate.key, intermediate.roots, intermediate.intermediates[::-1])


def test_a_chain_with_a_gap(root):
    issuing = issue_intermediate(issue_intermediate(issue_intermediate(root, "a"), "b"), "c")
    c, _, a = issuing.intermediates
    with pytest.raises(AuthorityError, match="'CN=a' did not issue 'CN=c'"):
        Authority(issuing.certificate, issuing.key, root.roots, (c, a))


def test_a_chain_to_another_root(intermediate, now):
    with pytest.raises(AuthorityError, match="no root of the trust bundle issued 'CN=policy CA'"):
        Authority(
            intermediate.certificate,
            intermediate.key,
            new_root("cluster.local", now=now).roots,
            intermediate.intermediates,
        )


def test_a_leaf_cannot_sign(root):
    with pytest.raises(AuthorityError, match="is not a CA certificate"):
        issue_intermediate(root, "leaf", ca=False)


def test_the_key_is_not_in_repr(root):
    assert "key" not in repr(root).lower().replace("keyusage", "")
