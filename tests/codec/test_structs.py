"""google.protobuf.Struct from Python values."""

import pytest
from envoy_data_plane.google.protobuf import Struct

from dragoman.codec import encode, struct, to_json, value


def test_every_json_value() -> None:
    content = {"n": None, "b": True, "i": 1, "f": -0.5, "s": "", "l": [1, [], {}], "o": {"k": {"": False}}}
    assert to_json(Struct, encode(struct(content))) == content


def test_tuples_are_lists_and_booleans_are_not_numbers() -> None:
    assert encode(value((True, 1))) == encode(value([True, 1.0]))
    assert encode(value(True)) != encode(value(1))


@pytest.mark.parametrize("wrong", [{1: "x"}, {"a": {2: "x"}}, {"a": object()}, {"a": b"x"}, {"a": {"set"}}])
def test_what_is_not_json_is_an_error(wrong: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        struct(wrong)
