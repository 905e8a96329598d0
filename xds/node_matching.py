"""Which clients a request for their status means (Envoy: type/matcher/v3/node.proto, struct.proto, string.proto)."""

import re
from collections.abc import Mapping
from typing import Any

from xds.request import Node


class UnsupportedMatcherError(ValueError):
    """A matcher that is not known here; the text names it."""


def matches(matchers: Any, node: Node) -> bool:
    """Whether any of these NodeMatchers (google.protobuf messages) fits; none fits everybody."""
    return not matchers or any(_fits(matcher, node) for matcher in matchers)


def _fits(matcher: Any, node: Node) -> bool:
    if matcher.HasField("node_id") and not _string(matcher.node_id, node.id):
        return False
    return all(_struct(each, node.metadata) for each in matcher.node_metadatas)


def _string(matcher: Any, text: str) -> bool:
    kind = matcher.WhichOneof("match_pattern")
    if kind == "safe_regex":
        return re.fullmatch(matcher.safe_regex.regex, text) is not None
    if kind not in ("exact", "prefix", "suffix", "contains"):
        raise UnsupportedMatcherError(f"string matcher {kind!r} is not supported")
    wanted = getattr(matcher, kind)
    if matcher.ignore_case:
        wanted, text = wanted.lower(), text.lower()
    match kind:
        case "exact":
            return bool(text == wanted)
        case "prefix":
            return text.startswith(wanted)
        case "suffix":
            return text.endswith(wanted)
        case _:
            return wanted in text


def _struct(matcher: Any, metadata: Mapping[str, Any]) -> bool:
    value: Any = metadata
    for segment in matcher.path:
        if not isinstance(value, Mapping) or segment.key not in value:
            return False
        value = value[segment.key]
    return _value(matcher.value, value)


def _value(matcher: Any, value: Any) -> bool:
    kind = matcher.WhichOneof("match_pattern")
    match kind:
        case "string_match":
            return isinstance(value, str) and _string(matcher.string_match, value)
        case "bool_match":
            return value is matcher.bool_match
        case "null_match":
            return value is None
        case "present_match":
            return bool(matcher.present_match)
        case "list_match":
            return isinstance(value, list) and any(_value(matcher.list_match.one_of, each) for each in value)
        case "or_match":
            return any(_value(each, value) for each in matcher.or_match.value_matchers)
        case "double_match" if matcher.double_match.HasField("exact"):
            return isinstance(value, float) and value == matcher.double_match.exact
    raise UnsupportedMatcherError(f"value matcher {kind!r} is not supported")
