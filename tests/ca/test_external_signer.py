"""What is believed of what a signer answers, and what a request to one may say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca.authority import new_root, pem
from ca.identity import SpiffeId
from ca.signer import SignerError, verified
from ca.signing_request import RequestError, public_key_of, require_own_names, signing_request
from tests.operator.request_signer import an_intermediate, certificate_for

WEB = SpiffeId("cluster.local", "shop", "web")
VAULT = x509.UniformResourceIdentifier("spiffe://cluster.local/ns/bank/sa/vault")
OWN = x509.UniformResourceIdentifier(str(WEB))
KEY = ec.generate_private_key(ec.SECP256R1())
CSR = signing_request(KEY, (WEB,))
ROOT = new_root("theirs", now=datetime.now(UTC))
ISSUING = an_intermediate(ROOT)
OTHER = new_root("other", now=datetime.now(UTC))
HOUR = timedelta(hours=1)


def judged(chain: bytes, roots: tuple[x509.Certificate, ...] = ROOT.roots) -> tuple[x509.Certificate, ...]:
    now = datetime.now(UTC)
    return verified(chain, key=KEY.public_key(), spiffe_ids=(WEB,), roots=roots, now=now, lifetime=HOUR)


def leaf(by: Any = ISSUING, life: timedelta = HOUR, **how: Any) -> x509.Certificate:
    return certificate_for(by, CSR, life, **how)


def test_a_chain_is_given_on_without_the_root() -> None:
    good = leaf()
    assert judged(pem([good, ISSUING.certificate])) == (good, ISSUING.certificate)
    assert judged(pem([good, ISSUING.certificate, ROOT.certificate])) == (good, ISSUING.certificate)
    direct = leaf(ROOT, timedelta(minutes=1))
    assert judged(pem([direct])) == (direct,), "shorter than asked for is the signer's right"


@pytest.mark.parametrize(
    ("chain", "words"),
    [
        (b"none", "no PEM"),
        (pem([leaf(key=ec.generate_private_key(ec.SECP256R1()).public_key()), ISSUING.certificate]), "another key"),
        (pem([leaf(names=[VAULT]), ISSUING.certificate]), "names spiffe://cluster.local/ns/bank/sa/vault, not"),
        (pem([leaf(names=[OWN, VAULT]), ISSUING.certificate]), "names"),
        (pem([leaf(names=[OWN, x509.DNSName("bank")]), ISSUING.certificate]), "bank"),
        (pem([leaf(names=[]), ISSUING.certificate]), "names nobody"),
        (pem([leaf(ca=True), ISSUING.certificate]), "a CA's"),
        (pem([leaf(usages=[ExtendedKeyUsageOID.SERVER_AUTH]), ISSUING.certificate]), "not for client auth"),
        (pem([leaf(life=timedelta(days=365)), ISSUING.certificate]), "longer than the 1:00:00"),
        (pem([leaf(starts_in=timedelta(minutes=30)), ISSUING.certificate]), "valid only from"),
        (pem([leaf(life=timedelta(seconds=-5)), ISSUING.certificate]), "has expired"),
        (pem([leaf()]), "no trusted root issued"),
        (pem([leaf(), OTHER.certificate]), "out of order"),
        (pem([leaf(OTHER)]), "no trusted root issued the signer's certificate, which was signed by 'O=other'"),
        (pem([leaf(), leaf(), ISSUING.certificate]), "is no CA"),
    ],
)
def test_what_peers_would_not_accept_is_refused(chain: bytes, words: str) -> None:
    with pytest.raises(SignerError, match=words):
        judged(chain)


def test_without_roots_nothing_is_believed() -> None:
    with pytest.raises(SignerError, match="no root of the signer is known: give --signer-roots"):
        judged(pem([leaf(ROOT)]), ())


def request(*names: x509.GeneralName, subject: tuple[x509.NameAttribute[str], ...] = (), ca: bool = False) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def test_a_request_may_name_its_caller_or_nobody() -> None:
    for csr in (request(OWN), request(), CSR.decode()):
        public_key_of(csr)
        require_own_names(csr, (WEB,))


@pytest.mark.parametrize(
    ("csr", "words"),
    [
        (request(VAULT), f"names others than its caller, who is {WEB}"),
        (request(OWN, VAULT), "names others"),
        (request(OWN, x509.DNSName("bank")), "names others"),
        (request(OWN, ca=True), r"asks for 2\.5\.29\.19"),
        (request(OWN, subject=(x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:masters"),)), "has a subject"),
    ],
)
def test_a_request_for_more_is_refused(csr: str, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        require_own_names(csr, (WEB,))
