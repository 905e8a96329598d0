"""Tokens and certificates, good and bad."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ca.authority import Authority, new_root
from ca.caller import PodBinding
from ca.identity import SpiffeId
from dragoman.callers.credentials import Credentials
from dragoman.callers.json_web_token import JsonWebToken
from dragoman.callers.token_issuer import ISSUER, TokenIssuer

WEB = SpiffeId("cluster.local", "shop", "web")
POD = PodBinding("shop", "web-1", "u-1", "n1")
ISSUED_BY = TokenIssuer(ec.generate_private_key(ec.SECP256R1()))
ROOT = new_root("cluster.local", now=datetime.now(UTC))


def now() -> datetime:
    return datetime.now(UTC)


def token(**changes: Any) -> str:
    """A good token, or one with other claims (None leaves one out)."""
    text = ISSUED_BY.issue(POD, "web", now=now(), lifetime=timedelta(hours=1))
    if not changes:
        return text
    claims = jwt.decode(text, options={"verify_signature": False}) | changes
    return signed({key: value for key, value in claims.items() if value is not None})


def signed(claims: dict[str, Any], **header: Any) -> str:
    """Any claims, those that an honest library would not sign included."""
    payload = json.dumps(claims).encode()
    return jwt.PyJWS().encode(payload, ISSUED_BY.key, algorithm="ES256", headers={"kid": ISSUED_BY.key_id, **header})


def claims() -> dict[str, Any]:
    return dict(jwt.decode(token(), options={"verify_signature": False}))


def bearer(text: str) -> Credentials:
    return Credentials("ipv4:10.0.0.1:1", token=text)


def verifier(*audiences: str) -> JsonWebToken:
    return JsonWebToken(ISSUER, audiences or ("istio-ca",), ISSUED_BY.keys(), lambda: "cluster.local", name="token")


def certificate(*ids: SpiffeId, dns_names: Sequence[str] = (), root: Authority = ROOT) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    return root.sign(key.public_key(), spiffe_ids=ids, dns_names=dns_names, now=now())


def der(issued: x509.Certificate) -> Credentials:
    return Credentials("ipv4:10.0.0.1:1", certificate=issued.public_bytes(Encoding.DER))
