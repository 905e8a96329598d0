"""JSON Web Key Sets (RFC 7517): which keys of one verify signatures, and one way to write those.

What is written here depends on the keys only, not on their order, the spelling of their numbers or members that verify
nothing, so that a key set that is fetched again and says the same is equal.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

MAX_KEYS: Final = 100
"""More keys than any issuer has: each token that names no key is tried with all of them."""

_RSA_BITS: Final = range(1024, 8193)
"""Sizes of a modulus. RFC 7518 asks for 2048, and older keys are about; larger ones make verifying slow."""
_LONGEST_EXPONENT: Final = 33
"""Bits; a longer one makes each verification slow (BoringSSL refuses it, too)."""

_CURVES: Final[Mapping[str, tuple[ec.EllipticCurve, str]]] = {
    "P-256": (ec.SECP256R1(), "ES256"),
    "P-384": (ec.SECP384R1(), "ES384"),
    "P-521": (ec.SECP521R1(), "ES512"),
}
_ALGORITHMS: Final[Mapping[str, frozenset[str]]] = {
    "RSA": frozenset(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
    "OKP": frozenset(("EdDSA",)),
    "oct": frozenset(("HS256", "HS384", "HS512")),
}
"""What keys of a kind sign with (RFC 7518, section 3.1; RFC 8037, section 3.1)."""


class KeySetError(ValueError):
    """This is no JSON Web Key Set; `str()` says why."""


class KeySet(NamedTuple):
    """The keys of a set that verify signatures."""

    keys: tuple[str, ...]
    """Each in JSON, without repetition."""
    passed_over: tuple[tuple[int, str], ...]
    """Places of keys that verify nothing here, and why."""

    @property
    def text(self) -> str | None:
        """The set as JSON; None without any key."""
        return f'{{"keys":[{",".join(self.keys)}]}}' if self.keys else None


class _UnusableKeyError(ValueError):
    pass


def read(text: str | bytes, *, shared_secrets: bool) -> KeySet:
    """The usable keys of a key set; raises `KeySetError`.

    `shared_secrets`: whether symmetric keys are among them. A document that anybody can fetch holds none, for whoever
    reads it could make tokens (RFC 8725, section 3.1).
    """
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise KeySetError("not JSON") from None
    written = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(written, list):
        raise KeySetError('not a JSON object with a list of "keys"')
    if len(written) > MAX_KEYS:
        raise KeySetError(f"{len(written)} keys are more than {MAX_KEYS}")
    keys: set[str] = set()
    passed_over: list[tuple[int, str]] = []
    for index, each in enumerate(written):
        try:
            keys.add(msgspec.json.encode(_key(each, shared_secrets), order="sorted").decode())
        except _UnusableKeyError as error:
            passed_over.append((index, str(error)))
    return KeySet(tuple(sorted(keys)), tuple(passed_over))


def _key(written: Any, shared_secrets: bool) -> dict[str, str]:
    """The members of a key that verifying needs."""
    if not isinstance(written, dict):
        raise _UnusableKeyError("not an object")
    if written.get("use", "sig") != "sig":
        raise _UnusableKeyError(f"its use is {written['use']!r}, not to verify signatures")
    match written.get("kty"):
        case "RSA":
            key, algorithms = _rsa(written), _ALGORITHMS["RSA"]
        case "EC":
            key, algorithms = _ec(written)
        case "OKP":
            key, algorithms = _okp(written), _ALGORITHMS["OKP"]
        case "oct" if shared_secrets:
            key, algorithms = {"k": _text(_bytes(written, "k"))}, _ALGORITHMS["oct"]
        case "oct":
            raise _UnusableKeyError("a shared secret, which a published key set must not have")
        case other:
            raise _UnusableKeyError(f"its kty {other!r} is not known")
    if "d" in written and not shared_secrets:
        raise _UnusableKeyError("its private half is published: anybody can make tokens")
    key["kty"] = written["kty"]
    algorithm = written.get("alg")
    if algorithm is not None:
        if not isinstance(algorithm, str) or algorithm not in algorithms:
            raise _UnusableKeyError(f"its alg {algorithm!r} is none of {', '.join(sorted(algorithms))}")
        key["alg"] = algorithm
    if isinstance(written.get("kid"), str):
        key["kid"] = written["kid"]
    return key


def _rsa(written: Mapping[str, Any]) -> dict[str, str]:
    modulus, exponent = _number(written, "n"), _number(written, "e")
    if modulus.bit_length() not in _RSA_BITS:
        raise _UnusableKeyError(f"a modulus of {modulus.bit_length()} bits")
    if not modulus % 2 or not exponent % 2 or exponent == 1 or exponent.bit_length() > _LONGEST_EXPONENT:
        raise _UnusableKeyError("not an RSA key")
    return {"n": _text(_to_bytes(modulus)), "e": _text(_to_bytes(exponent))}


def _ec(written: Mapping[str, Any]) -> tuple[dict[str, str], frozenset[str]]:
    name = written.get("crv")
    if not isinstance(name, str) or name not in _CURVES:
        raise _UnusableKeyError(f"its curve {name!r} is none of {', '.join(_CURVES)}")
    curve, algorithm = _CURVES[name]
    x, y = _number(written, "x"), _number(written, "y")
    try:
        ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
    except ValueError:
        raise _UnusableKeyError(f"not a point of {name}") from None
    length = (curve.key_size + 7) // 8
    members = {"crv": name, "x": _text(x.to_bytes(length, "big")), "y": _text(y.to_bytes(length, "big"))}
    return members, frozenset((algorithm,))


def _okp(written: Mapping[str, Any]) -> dict[str, str]:
    if written.get("crv") != "Ed25519":
        raise _UnusableKeyError(f"its curve {written.get('crv')!r} is not Ed25519")
    x = _bytes(written, "x")
    if len(x) != 32:
        raise _UnusableKeyError("not a point of Ed25519")
    return {"crv": "Ed25519", "x": _text(x)}


def _number(written: Mapping[str, Any], name: str) -> int:
    return int.from_bytes(_bytes(written, name), "big")


def _bytes(written: Mapping[str, Any], name: str) -> bytes:
    text = written.get(name)
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]+={0,2}", text):
        raise _UnusableKeyError(f"{name} is missing, or not base64url")
    text = text.rstrip("=")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise _UnusableKeyError(f"{name} is not base64url") from None


def _to_bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
