"""Merging a partial message into another, as EnvoyFilter's MERGE does."""

from betterproto2 import Message as DataMessage
from google.protobuf.message import Message

from dragoman.codec.canonical_json import decode

# These stand for one value: merged field by field, 1.5s and 2s would make 2.5s, and a wrapped zero would change
# nothing. Istio replaces Duration (pkg/proto/merge); the same holds here for every message that only wraps a scalar.
_ATOMIC = frozenset(
    f"google.protobuf.{name}"
    for name in (
        "BoolValue",
        "BytesValue",
        "DoubleValue",
        "Duration",
        "FloatValue",
        "Int32Value",
        "Int64Value",
        "StringValue",
        "Timestamp",
        "UInt32Value",
        "UInt64Value",
    )
)


def merge(of: type[DataMessage] | str, base: bytes, patch: bytes) -> bytes:
    """Return `base` with `patch` merged into it.

    Scalars and atomic messages (durations, timestamps, wrappers) of the patch replace, messages merge, repeated fields
    append, map entries replace by key, and a member of a oneof displaces the others. An Any is replaced as a whole.
    Raises as `decode` does.
    """
    merged, addition = decode(of, base), decode(of, patch)
    _clear_replaced(merged, addition)
    merged.MergeFrom(addition)
    return merged.SerializeToString(deterministic=True)


def _clear_replaced(base: Message, patch: Message) -> None:
    """Clear what the patch replaces as a whole, so that merging sets it."""
    for field, value in patch.ListFields():
        if field.message_type is None or not isinstance(value, Message) or not base.HasField(field.name):
            continue
        if field.message_type.full_name in _ATOMIC or field.message_type.full_name == "google.protobuf.Any":
            base.ClearField(field.name)
        else:
            _clear_replaced(getattr(base, field.name), value)
