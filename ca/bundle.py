"""The trust bundle in the forms that others read it in."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from ca.authority import pem

CONFIG_MAP: Final = "istio-ca-root-cert"  # Istio: pilot/pkg/bootstrap, CACertNamespaceConfigMap
CONFIG_MAP_KEY: Final = "root-cert.pem"  # Istio: pkg/config/constants, CACertNamespaceConfigMapDataName
NAMESPACES_WITHOUT: Final = frozenset(("kube-system", "kube-public", "kube-node-lease", "local-path-storage"))
"""Namespaces without workloads of the mesh (Istio: pkg/kube/inject, IgnoredNamespaces)."""

_REFRESH_SECONDS: Final = 300
_X509: Final = "x509-svid"
_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


def config_map_data(roots: Sequence[x509.Certificate]) -> dict[str, str]:
    """The `data` of the ConfigMap that every namespace has, from which pods mount the roots."""
    return {CONFIG_MAP_KEY: pem(roots).decode()}


def spiffe_bundle(roots: Sequence[x509.Certificate]) -> dict[str, Any]:
    """The bundle as a JWK Set (SPIFFE: Trust Domain and Bundle, section 4), one key for each root."""
    return {"spiffe_refresh_hint": _REFRESH_SECONDS, "keys": [_key(root) for root in roots]}


class BundleError(ValueError):
    """A document is no bundle of roots; `str()` says why."""


class PublishedBundle(NamedTuple):
    """What somebody publishes of the roots of a trust domain."""

    roots: tuple[x509.Certificate, ...]
    refresh_seconds: int | None
    """After how long to ask again, by the publisher's wish."""


def read_spiffe_bundle(document: bytes) -> PublishedBundle:
    """The roots in a bundle (SPIFFE: Trust Domain and Bundle, section 4); keys for other uses are passed over.

    Raises `BundleError` for the whole of it when one root is none, or not of a kind that Envoy takes.
    """
    try:
        bundle = json.loads(document)
    except (ValueError, RecursionError):
        raise BundleError("it is no JSON") from None
    if not isinstance(bundle, dict) or not isinstance(bundle.get("keys"), list):
        raise BundleError("it has no list of keys")
    used = (key for key in bundle["keys"] if isinstance(key, dict) and key.get("use") == _X509)
    roots = tuple(dict.fromkeys(map(_root, used)))
    hint = bundle.get("spiffe_refresh_hint")
    return PublishedBundle(roots, hint if isinstance(hint, int) and hint > 0 else None)


def _root(key: dict[str, Any]) -> x509.Certificate:
    match key.get("x5c"):
        case [str(encoded)]:
            pass
        case _:
            raise BundleError("a key for X.509 has not one certificate")
    try:
        root = x509.load_der_x509_certificate(base64.b64decode(encoded, validate=True))
        _parameters(root)
        is_authority = root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, TypeError, KeyError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension):
        raise BundleError("a key has no certificate that proxies could use") from None
    except x509.ExtensionNotFound:
        is_authority = False
    if not is_authority:
        raise BundleError("a certificate is no authority's")
    return root


def _key(root: x509.Certificate) -> dict[str, Any]:
    certificate = base64.b64encode(root.public_bytes(Encoding.DER)).decode()
    return {"use": _X509, **_parameters(root), "x5c": [certificate]}


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
