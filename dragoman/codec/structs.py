"""google.protobuf.Struct from plain Python values."""

from collections.abc import Mapping

from envoy_data_plane.google.protobuf import ListValue, NullValue, Struct, Value


def struct(mapping: Mapping[str, object]) -> Struct:
    """Return a Struct of JSON-like values: None, bool, numbers, text, lists or tuples, and mappings with text keys.

    Raises `TypeError` for anything else. Numbers become doubles, as JSON's are.
    """
    for key in mapping:
        if not isinstance(key, str):
            raise TypeError(f"a Struct's keys are text, not {key!r}")
    return Struct(fields={key: value(item) for key, item in mapping.items()})


def value(item: object) -> Value:
    """Return one JSON-like value as a google.protobuf.Value; see `struct`."""
    match item:
        case None:
            return Value(null_value=NullValue.NULL_VALUE)
        case bool():
            return Value(bool_value=item)
        case int() | float():
            return Value(number_value=float(item))
        case str():
            return Value(string_value=item)
        case list() | tuple():
            return Value(list_value=ListValue(values=[value(element) for element in item]))
        case Mapping():
            return Value(struct_value=struct(item))
    raise TypeError(f"{item!r} has no JSON form")
