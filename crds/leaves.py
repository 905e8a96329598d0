"""The fields that an object sets."""

from collections.abc import Iterator
from typing import Any, NamedTuple

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
        case Message(_, _, fields):
            for field in fields.values():
                held = getattr(value, field.attribute)
                if held is None or held == field.default:
                    continue
                inner, within = child(path, field.name), child(template, field.name)
                yield from set_leaves(held, field.shape, inner, within, keys)
        case _ if is_leaf(shape):
            yield Leaf(path, template, value, keys)
        case ListOf(item):
            for index, held in enumerate(value):
                yield from set_leaves(held, item, f"{path}[{index}]", f"{template}[]", keys)
        case MapOf(_, item):
            for key, held in value.items():
                yield from set_leaves(held, item, f"{path}[{key}]", f"{template}{{}}", (*keys, str(key)))
