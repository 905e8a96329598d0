"""Reading: parsed messages and canonical protobuf JSON, with Any expanded.

Source: protobuf.dev, "ProtoJSON Format". An Any whose type is not known here (an operator's extension, a newer Envoy)
is neither lost nor an error: it is `{"@type": url, "value": base64}` in JSON and comes back from there unchanged.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any as AnyValue
from typing import cast

from betterproto2 import Message as DataMessage
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BytesValue

from dragoman.codec.runtime import TYPES
from dragoman.codec.schema import UnknownTypeError


class InvalidJsonError(ValueError):
    """JSON that does not describe a message of the wanted type; the text names the offending field."""


class _Pool:
    """A descriptor pool for json_format that remembers having been asked for a type nobody knows.

    With `opaque`, such a type is taken for a BytesValue, whose JSON is the base64 wanted.
    """

    def __init__(self, *, opaque: bool = False) -> None:
        self.opaque = opaque
        self.met_unknown = False

    def FindMessageTypeByName(self, full_name: str) -> Descriptor:  # noqa: N802 - the pool's interface
        try:
            return cast("Descriptor", TYPES.message_class(full_name).DESCRIPTOR)
        except UnknownTypeError as unknown:
            self.met_unknown = True
            if self.opaque:
                return BytesValue.DESCRIPTOR
            raise KeyError(full_name) from unknown


def decode(of: type[DataMessage] | str, data: bytes) -> Message:
    """Parse a message, given by class or type URL, into google.protobuf's representation (snake_case attributes).

    Raises `UnknownTypeError` and google.protobuf.message.DecodeError.
    """
    return TYPES.message_class(of).FromString(data)


def to_json(of: type[DataMessage] | str, data: bytes) -> dict[str, AnyValue]:
    """Return the canonical JSON of the message in `data`. Raises as `decode` does."""
    message = decode(of, data)
    # Unknown types are rare, so the message is searched for them only once json_format has met one.
    pool = _Pool()
    try:
        return _print(message, pool)
    except TypeError:
        if not pool.met_unknown:
            raise
    _rewrite_unknown(message, lambda value: BytesValue(value=value).SerializeToString())
    return _print(message, _Pool(opaque=True))


def from_json(of: type[DataMessage] | str, obj: Mapping[str, AnyValue]) -> bytes:
    """Return the wire form of canonical JSON; field names may also be written in snake_case, as Envoy allows.

    Raises `UnknownTypeError` if `of` is not known and `InvalidJsonError` for unknown fields and ill-typed values.
    """
    message, pool = TYPES.message_class(of)(), _Pool()
    try:
        _parse(obj, message, pool)
    except InvalidJsonError:
        if not pool.met_unknown:
            raise
        message = TYPES.message_class(of)()
        _parse(obj, message, _Pool(opaque=True))
        _rewrite_unknown(message, lambda value: BytesValue.FromString(value).value)
    return message.SerializeToString(deterministic=True)


def _print(message: Message, pool: _Pool) -> dict[str, AnyValue]:
    return json_format.MessageToDict(message, descriptor_pool=cast("AnyValue", pool))


def _parse(obj: Mapping[str, AnyValue], message: Message, pool: _Pool) -> None:
    try:
        json_format.ParseDict(dict(obj), message, descriptor_pool=cast("AnyValue", pool))
    except (json_format.Error, KeyError, TypeError, ValueError) as error:
        raise InvalidJsonError(str(error)) from error


def _rewrite_unknown(message: Message, change: Callable[[bytes], bytes]) -> bool:
    """Apply `change` to the value of every Any of unknown type, at any depth; return whether there was one."""
    if message.DESCRIPTOR.full_name != "google.protobuf.Any":
        # Not any(): that would stop at the first child with an unknown type.
        return sum(_rewrite_unknown(child, change) for child in _children(message)) > 0
    content = cast("Any", message)
    try:
        inner = decode(content.type_url, content.value)
    except UnknownTypeError:
        # An Any without a type URL holds nothing: json_format prints and reads it as {}.
        if content.type_url:
            content.value = change(content.value)
        return bool(content.type_url)
    if changed := _rewrite_unknown(inner, change):
        content.value = inner.SerializeToString(deterministic=True)
    return changed


def _children(message: Message) -> Iterable[Message]:
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                yield from value.values()
        elif isinstance(value, Message):
            yield value
        else:
            yield from value
