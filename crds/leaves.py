"""The fields that an object sets."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from crds.shape import ListOf, MapOf, Message, Shape, child, is_leaf


class Leaf(NamedTuple):
    """`path` names the place in this object (`http[0].headers[x].exact`), `field` the place in its kind
    (`http[].headers{}.exact`); `keys` are the map keys on the way."""

    path: str
    field: str
    value: Any
    keys: tuple[str, ...] = ()


def set_leaves(
    value: Any, shape: Shape, path: str = "", template: str = "", keys: tuple[str, ...] = ()
) -> Iterator[Leaf]:
    """Every leaf that differs from its default, in the order of the models."""
    match shape:
        case Message(cls):
            for info in msgspec.structs.fields(cls):
                held = getattr(value, info.name)
                default = info.default if info.default_factory is msgspec.NODEFAULT else info.default_factory()
                if held is None or held == default:
                    continue
                inner = shape.fields[info.encode_name].shape
                yield from set_leaves(
                    held, inner, child(path, info.encode_name), child(template, info.encode_name), keys
                )
        case _ if is_leaf(shape):
            yield Leaf(path, template, value, keys)
        case ListOf(item):
            for index, held in enumerate(value):
                yield from set_leaves(held, item, f"{path}[{index}]", f"{template}[]", keys)
        case MapOf(_, item):
            for key, held in value.items():
                yield from set_leaves(held, item, f"{path}[{key}]", f"{template}{{}}", (*keys, str(key)))
