"""Keys, tokens and key sets of issuers."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key and its id."""

    private: PrivateKey
    key_id: str
    algorithm: str

    @property
    def public(self) -> dict[str, Any]:
        """The public half, as a member of a key set."""
        public: Any = self.private.public_key()
        kinds: dict[str, Any] = {
            "R": jwt.algorithms.RSAAlgorithm,
            "E": jwt.algorithms.ECAlgorithm,
            "Ed": jwt.algorithms.OKPAlgorithm,
        }
        kind = kinds["Ed" if self.algorithm == "EdDSA" else self.algorithm[0]]
        return {**kind.to_jwk(public, as_dict=True), "kid": self.key_id}

    def token(self, issuer: str, *, lives: float = 3600, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token; it expires after `lives` seconds, before now if that is negative. A claim of None is left out."""
        written = {"iss": issuer, "sub": "amina", "exp": int(time.time() + lives), **claims}
        payload = {name: value for name, value in written.items() if value is not None}
        named = {"kid": self.key_id, **(headers or {})}
        # Any claims at all: PyJWT's own `encode` would not sign malformed ones.
        return jwt.PyJWS().encode(json.dumps(payload).encode(), self.private, algorithm=self.algorithm, headers=named)


@cache
def signing_key(key_id: str, algorithm: str = "ES256") -> SigningKey:
    """A key that is made once."""
    made: dict[str, Any] = {
        "RS256": lambda: rsa.generate_private_key(65537, 2048),
        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "ES512": lambda: ec.generate_private_key(ec.SECP521R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate,
    }
    return SigningKey(made[algorithm](), key_id, algorithm)


def key_set(*keys: SigningKey) -> str:
    """Their key set."""
    return json.dumps({"keys": [key.public for key in keys]})
