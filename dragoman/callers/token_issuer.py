"""Tokens of our own, where there is no Kubernetes to issue any: shaped like those of its service accounts."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from ca.authority import random_serial
from ca.caller import PodBinding
from dragoman.callers.key_sets import KeySet
from dragoman.callers.service_account import CLAIMS, USER_PREFIX

ISSUER: Final = "dragoman"
AUDIENCE: Final = "istio-ca"  # Istio: TOKEN_AUDIENCES
KEY_FILE: Final = "token-key.pem"


class TokenKeyError(ValueError):
    """The key that signs tokens cannot be used."""


@dataclass(frozen=True, slots=True)
class TokenIssuer:
    """Signs tokens with an EC P-256 key. Whoever can read the key can be anybody in the mesh."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def load_or_create(cls, folder: Path) -> TokenIssuer:
        """The issuer whose key is in a folder; a new key (mode 0600) where there is none. Raises `TokenKeyError`."""
        path = folder / KEY_FILE
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _create(path)
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except (ValueError, TypeError):
            raise TokenKeyError(f"{path} holds no private key: remove it for a new one") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise TokenKeyError(f"{path} holds no EC P-256 key: remove it for a new one")
        return cls(key)

    @property
    def key_id(self) -> str:
        """A name of the key: a hash of its public half."""
        der = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(der).hexdigest()[:16]

    def keys(self) -> KeySet:
        """What verifies these tokens."""
        public = jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return KeySet((jwt.PyJWK({**public, "kid": self.key_id, "alg": "ES256", "use": "sig"}),))

    def issue(
        self,
        pod: PodBinding,
        service_account: str,
        *,
        audience: str = AUDIENCE,
        now: datetime,
        lifetime: timedelta,
    ) -> str:
        """A token of a pod that runs as a service account of its namespace."""
        issued = int(now.timestamp())
        bound: dict[str, object] = {
            "namespace": pod.namespace,
            "pod": {"name": pod.name, **({"uid": pod.uid} if pod.uid else {})},
            "serviceaccount": {"name": service_account},
        }
        if pod.node:
            bound["node"] = {"name": pod.node}
        claims = {
            "iss": ISSUER,
            "sub": f"{USER_PREFIX}{pod.namespace}:{service_account}",
            "aud": [audience],
            "iat": issued,
            "nbf": issued,
            "exp": issued + int(lifetime.total_seconds()),
            "jti": f"{random_serial():032x}",
            CLAIMS: bound,
        }
        return jwt.encode(claims, self.key, algorithm="ES256", headers={"kid": self.key_id})


def _create(path: Path) -> None:
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # 0600
    new = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
        # Another process may have been faster: then its key counts.
        with contextlib.suppress(FileExistsError):
            os.link(new, path)
    finally:
        new.unlink(missing_ok=True)
