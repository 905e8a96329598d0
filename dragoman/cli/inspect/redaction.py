"""Blotting out what nobody may read: in config dumps, in objects, in pages and in logs.

Who made a document may have done so already, or may not: what is shown or packed passes through here in any case.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

BLOT: Final = "[redacted]"
_BLOT_BYTES: Final = base64.b64encode(BLOT.encode()).decode()

_SECRET_FIELDS: Final = frozenset(
    (
        "privatekey",
        "privatekeyprovider",
        "password",
        "sessionticketkeys",
        "genericsecret",
        "accesstoken",
        "jsonkey",
        "token",
        "clientsecret",
    )
)
"""Fields whose text is secret, or the sources of data within them (Envoy: annotation `sensitive` in tls/v3 and
others); without regard to case and underscores."""

_TEXTS: Final = frozenset(
    ("inlinestring", "value", "rawvalue", "values", "exact", "prefix", "suffix", "contains", "regex", "notvalues")
)
"""Fields that hold a secret's text, or what it is compared with, in the value of a field or header that is secret."""

_SECRET_HEADERS: Final = frozenset(
    ("authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "api-key", "x-auth-token")
)

_HEADER_ATTRIBUTE: Final = re.compile(r"request\.headers\[(.*)\]")
"""How AuthorizationPolicy names a header."""

_SECRET_NAMES: Final = re.compile(r"(?i)password|passwd|secret|token|credential|api_?key|private_?key")
"""Names of environment variables that hold such."""

_TOKEN: Final = re.compile(r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_BEARER: Final = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")
_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_ENCODED_PRIVATE_KEY: Final = re.compile(r"\bLS0tLS1CRUdJTi[A-Za-z0-9+/=]+")
"""A PEM block in base64; which kind it is shows only once it is decoded."""


def is_blot(value: Any) -> bool:
    """Whether this is what stands for a secret, here as in Envoy's own dumps."""
    return value in (BLOT, _BLOT_BYTES)


def redacted(value: Any) -> Any:
    """A document with every secret blotted out, as Envoy does it."""
    return _value(value, hidden=False)


def redacted_text(text: str) -> str:
    """A text without private keys, tokens and passwords that can be known as such. JSON is taken as a document."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            document = json.loads(text)
        except ValueError:
            return _text(text)
        return json.dumps(redacted(document), indent=2, ensure_ascii=False) + "\n"
    return _text(text)


def _value(value: Any, *, hidden: bool) -> Any:
    if isinstance(value, Mapping):
        return dict(_fields(value, hidden=hidden))
    if isinstance(value, list):
        return [_value(item, hidden=hidden) for item in value]
    return _text(value) if isinstance(value, str) else value


def _fields(message: Mapping[str, Any], *, hidden: bool) -> Iterator[tuple[str, Any]]:
    hidden = hidden or _names_a_secret(message)
    for key, value in message.items():
        name = key.replace("_", "").lower()
        secret = name in _SECRET_FIELDS or key.lower() in _SECRET_HEADERS
        symmetric_key = name == "k" and message.get("kty") == "oct"
        if hidden and name == "inlinebytes":
            yield key, _BLOT_BYTES
        elif symmetric_key or (hidden and name in _TEXTS) or (secret and isinstance(value, str)):
            yield key, _blotted(value)
        else:
            yield key, _value(value, hidden=hidden or secret)


def _names_a_secret(message: Mapping[str, Any]) -> bool:
    """Whether what stands beside a name (of a header, of an environment variable) is secret."""
    name = str(message.get("key", message.get("name", "")))
    header = found[1] if (found := _HEADER_ATTRIBUTE.fullmatch(name)) else name
    return header.lower() in _SECRET_HEADERS or ("value" in message and _SECRET_NAMES.search(name) is not None)


def _blotted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _blotted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_blotted(item) for item in value]
    return BLOT if isinstance(value, str) else value


def _text(text: str) -> str:
    text = _PRIVATE_KEY.sub(BLOT, text)
    text = _ENCODED_PRIVATE_KEY.sub(_encoded, text)
    text = _TOKEN.sub(BLOT, text)
    return _BEARER.sub(rf"\1 {BLOT}", text)


def _encoded(found: re.Match[str]) -> str:
    """Certificates are for all to see, keys are not."""
    try:
        decoded = base64.b64decode(found[0] + "=" * (-len(found[0]) % 4)).decode("ascii", "replace")
    except ValueError:
        return BLOT
    return _BLOT_BYTES if "PRIVATE KEY" in decoded else found[0]
