"""Random messages of any class: every scalar kind, map, wrapper, oneof and enum, with the extremes of each."""

import random
import warnings
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pkgutil import walk_packages

import envoy_data_plane
from betterproto2 import Message
from envoy_data_plane.google import protobuf

from dragoman.codec import schema, struct


def v3_classes() -> list[type[Message]]:
    """Import all of envoy-data-plane and return its v3 classes and the project's own, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in walk_packages(envoy_data_plane.__path__, "envoy_data_plane."):
            import_module(module.name)
    named = {schema.full_name(cls): cls for cls in schema.POOL.type_to_url}
    return [named[name] for name in sorted(named) if name.startswith(("xds.", "udpa.", "istio.")) or ".v3." in name]


class RandomMessages:
    """Makes messages from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - reproducible, not secret

    def message(self, cls: type[Message], depth: int = 2) -> Message:
        """Return an instance of `cls` with about half of its fields set and at most one per oneof."""
        values: dict[str, object] = {}
        groups: set[str] = set()
        fields = list(schema.fields(cls))
        self._random.shuffle(fields)
        for field, meta in fields:
            element = meta.map_meta[1] if meta.map_meta else meta
            too_deep = element.proto_type == "message" and not element.unwrap and depth == 0
            if too_deep or meta.group in groups or self._random.random() < 0.45:
                continue
            if meta.group:
                groups.add(meta.group)
            if meta.map_meta:
                values[field.name] = {
                    self._scalar(meta.map_meta[0].proto_type): self._value(cls, field, element, depth)
                    for _ in range(self._random.randint(0, 3))
                }
            elif meta.repeated:
                values[field.name] = [self._value(cls, field, meta, depth) for _ in range(self._random.randint(0, 3))]
            else:
                values[field.name] = self._value(cls, field, meta, depth)
        return cls(**values)

    def _value(self, cls, field, meta, depth):
        if meta.unwrap:
            wrapper = meta.unwrap()
            if wrapper is protobuf.Duration:
                # Not negative: the stock encoder, which this is compared with, gives fractions the wrong sign.
                return timedelta(seconds=self._random.choice([0, 1, 10**6]), microseconds=self._random.choice([0, 999]))
            if wrapper is protobuf.Timestamp:
                return datetime(1965, 1, 1, tzinfo=UTC) + timedelta(
                    seconds=self._random.randint(0, 10**9), microseconds=self._random.choice([0, 5, 999_999])
                )
            ((_, inner),) = schema.fields(wrapper)
            return self._scalar(inner.proto_type)
        if meta.proto_type == "enum":
            return self._random.choice(list(schema.field_type(cls, field)))
        if meta.proto_type != "message":
            return self._scalar(meta.proto_type)
        match schema.field_type(cls, field):
            case protobuf.Any:
                return protobuf.Any(type_url="type.googleapis.com/unknown.Type", value=b"\x01\x02")
            case protobuf.Struct:
                return struct({"b": 1, "a": [None, True, {"c": "d"}], "": -0.5})
            case nested:
                return self.message(nested, depth - 1)

    def _scalar(self, kind):
        choose = self._random.choice
        match kind:
            case "string":
                return choose(["", "x", "héllo ✓", "a" * self._random.randint(0, 300)])
            case "bytes":
                return self._random.randbytes(self._random.choice([0, 1, 200]))
            case "bool":
                return choose([True, False])
            case "float":
                return choose([0.0, 1.5, -2.25, float("inf")])
            case "double":
                return choose([0.0, 1.5, 1e300, -0.1])
        bits = 32 if kind.endswith("32") else 64
        if kind.startswith(("uint", "fixed")):
            return choose([0, 1, 127, 128, 16383, 16384, 2**bits - 1, self._random.getrandbits(bits)])
        return choose([0, 1, -1, 300, 2 ** (bits - 1) - 1, -(2 ** (bits - 1))])
