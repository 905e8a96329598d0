"""The protobuf wire format: varints, tags and length-delimited fields.

Source: protobuf.dev, "Encoding". Everything here returns `bytes`, ready to be joined.
"""

from typing import Final

VARINT: Final = 0
FIXED64: Final = 1
LENGTH_DELIMITED: Final = 2
FIXED32: Final = 5


def _encode_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


# Lengths, ports, weights and enum values nearly all fit in two bytes: a table makes them one index operation.
SMALL: Final = tuple(_encode_varint(value) for value in range(1 << 14))


def varint(value: int) -> bytes:
    """Encode an unsigned integer of up to 64 bits; raise `ValueError` outside that range."""
    if 0 <= value < 16384:
        return SMALL[value]
    if value < 0 or value >> 64:
        raise ValueError(f"{value} is not an unsigned 64-bit integer")
    return _encode_varint(value)


def signed_varint(value: int) -> bytes:
    """Encode an int32, int64 or enum; negative numbers of all three are sign-extended to 64 bits.

    Raises `ValueError` outside the range of int64.
    """
    if 0 <= value < 16384:
        return SMALL[value]
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"{value} is not a signed 64-bit integer")
    return _encode_varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def zigzag_varint(value: int) -> bytes:
    """Encode a sint32 or sint64, whose small negative numbers are short."""
    return varint((value << 1) ^ (value >> 63))


def tag(field_number: int, wire_type: int) -> bytes:
    """Return the key that precedes a field's value."""
    return varint(field_number << 3 | wire_type)


def frame(field_number: int, payload: bytes) -> bytes:
    """Return `payload` as one length-delimited field.

    A parent message is the concatenation of its framed fields, so cached bytes of children are joined, not re-encoded.
    """
    return tag(field_number, LENGTH_DELIMITED) + varint(len(payload)) + payload
