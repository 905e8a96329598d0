"""Varints and framing, against google.protobuf."""

import pytest
from google.protobuf.wrappers_pb2 import Int64Value, StringValue, UInt64Value

from dragoman.codec import frame
from dragoman.codec.wire import signed_varint, varint, zigzag_varint

LIMITS = [1, 127, 128, 16383, 16384, 2**32 - 1, 2**63 - 1]


@pytest.mark.parametrize("number", [*LIMITS, 2**64 - 1])
def test_varint(number: int) -> None:
    assert b"\x08" + varint(number) == UInt64Value(value=number).SerializeToString()


@pytest.mark.parametrize("number", [*LIMITS, -1, -(2**31), -(2**63)])
def test_signed_varint(number: int) -> None:
    assert b"\x08" + signed_varint(number) == Int64Value(value=number).SerializeToString()


@pytest.mark.parametrize(("number", "encoded"), [(0, 0), (-1, 1), (1, 2), (-2, 3), (2**31 - 1, 2**32 - 2)])
def test_zigzag_varint(number: int, encoded: int) -> None:
    assert zigzag_varint(number) == varint(encoded)


@pytest.mark.parametrize(("encode", "number"), [(varint, -1), (varint, 2**64), (signed_varint, 2**63)])
def test_numbers_out_of_range(encode, number: int) -> None:
    with pytest.raises(ValueError, match="64-bit"):
        encode(number)


@pytest.mark.parametrize("length", [1, 127, 128, 20_000])
def test_frame(length: int) -> None:
    assert frame(1, b"x" * length) == StringValue(value="x" * length).SerializeToString()
    assert frame(16, b"") == b"\x82\x01\x00"
