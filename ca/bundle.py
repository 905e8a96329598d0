"""The trust bundle in the forms that others read it in."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from ca.authority import pem

CONFIG_MAP: Final = "istio-ca-root-cert"  # Istio: pilot/pkg/bootstrap, CACertNamespaceConfigMap
CONFIG_MAP_KEY: Final = "root-cert.pem"  # Istio: pkg/config/constants, CACertNamespaceConfigMapDataName
NAMESPACES_WITHOUT: Final = frozenset(("kube-system", "kube-public", "kube-node-lease", "local-path-storage"))
"""Namespaces without workloads of the mesh (Istio: pkg/kube/inject, IgnoredNamespaces)."""

_REFRESH_SECONDS: Final = 300
_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


def config_map_data(roots: Sequence[x509.Certificate]) -> dict[str, str]:
    """The `data` of the ConfigMap that every namespace has, from which pods mount the roots."""
    return {CONFIG_MAP_KEY: pem(roots).decode()}


def spiffe_bundle(roots: Sequence[x509.Certificate]) -> dict[str, Any]:
    """The bundle as a JWK Set (SPIFFE: Trust Domain and Bundle, section 4), one key for each root."""
    return {"spiffe_refresh_hint": _REFRESH_SECONDS, "keys": [_key(root) for root in roots]}


def _key(root: x509.Certificate) -> dict[str, Any]:
    certificate = base64.b64encode(root.public_bytes(Encoding.DER)).decode()
    return {"use": "x509-svid", **_parameters(root), "x5c": [certificate]}


def _parameters(root: x509.Certificate) -> dict[str, str]:
    """The public key (RFC 7518, section 6)."""
    key = root.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        numbers = key.public_numbers()
        size = (key.curve.key_size + 7) // 8
        return {
            "kty": "EC",
            "crv": _CURVES[key.curve.name],
            "x": _base64url(numbers.x, size),
            "y": _base64url(numbers.y, size),
        }
    if isinstance(key, rsa.RSAPublicKey):
        modulus = key.public_numbers()
        return {
            "kty": "RSA",
            "n": _base64url(modulus.n, (key.key_size + 7) // 8),
            "e": _base64url(modulus.e, (modulus.e.bit_length() + 7) // 8),
        }
    raise TypeError(f"a root with a key of type {type(key).__name__}")


def _base64url(number: int, size: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(size)).rstrip(b"=").decode()
