"""envoy-data-plane's messages without pydantic: made, and constructed, without validation.

Its generated code declares some thousand messages as pydantic dataclasses. To make a validator for each of these
classes takes a third of what the start of a control plane takes, and to validate at each construction costs more than
everything else done with a message. The translators are typed code, so production trusts them: messages become plain
dataclasses as they are imported, whose constructors are generated when they are first called. With DRAGOMAN_STRICT=1
in the environment pydantic stays in charge, and tests then find wrong types and fields of a oneof set together.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from betterproto2 import Message

STRICT: Final = os.environ.get("DRAGOMAN_STRICT") == "1"
_LIBRARY: Final = "envoy_data_plane"


def trust() -> None:
    """Have messages be plain dataclasses from now on; those imported already get such constructors at least."""
    if _LIBRARY not in sys.modules:
        # Later, as pydantic takes its time, and many a command does without messages.
        sys.meta_path.insert(0, _Awaited())
        return
    _replace_decorator()
    from envoy_data_plane.message_pool import default_message_pool

    for cls in list(default_message_pool.type_to_url):
        _defer(cls)


class _Awaited(MetaPathFinder):
    """Finds nothing, but learns that the library is about to be imported."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname == _LIBRARY:
            sys.meta_path.remove(self)
            _replace_decorator()


def _replace_decorator() -> None:
    """Of what pydantic's decorator is asked for, see to messages ourselves."""
    import dataclasses

    import pydantic.dataclasses
    from betterproto2 import Message

    validated: Any = pydantic.dataclasses.dataclass

    def dataclass(cls: type | None = None, /, **settings: Any) -> Any:
        def decorate(cls: type) -> type:
            if not issubclass(cls, Message):
                return validated(cls, **settings)  # type: ignore[no-any-return]
            _defer(cls)
            return dataclasses.dataclass(init=False, repr=False, eq=False)(cls)

        return decorate if cls is None else decorate(cls)

    pydantic.dataclasses.dataclass = dataclass


def _defer(cls: type[Message]) -> None:
    """Give `cls` a constructor that generates the real one when it is first called."""

    def first(message: Message, /, *args: object, **fields: object) -> None:
        constructor = _constructor(cls)
        cls.__init__ = constructor  # type: ignore[method-assign]
        constructor(message, *args, **fields)

    cls.__init__ = first  # type: ignore[method-assign, assignment]


def _constructor(cls: type[Message]) -> Callable[..., None]:
    """An `__init__` that takes the dataclass's arguments and stores them as they are."""
    import dataclasses

    from betterproto2 import FieldMetadata

    parameters: list[str] = []
    values: list[str] = []
    names: dict[str, Any] = {}
    described: Any = dataclasses.fields(cls)  # type: ignore[arg-type]
    for field in described:
        meta, name = FieldMetadata.get(field), field.name
        if meta.repeated or meta.map_meta:
            parameters.append(f"{name}=None")
            values.append(f"{name!r}: {'[]' if meta.repeated else '{}'} if {name} is None else {name}")
        else:
            # Defaults are immutable (numbers, text, enum members, None), so one object serves all instances.
            names[f"_default_{meta.number}"] = field.default_factory()
            parameters.append(f"{name}=_default_{meta.number}")
            values.append(f"{name!r}: {name}")
    values.append("'_unknown_fields': b''")
    # ConfigSource has a field called "self": the instance is therefore positional-only, under a name no field has.
    source = (
        f"def __init__({', '.join(['_instance', '/', *parameters])}):\n"
        f"    _instance.__dict__ = {{{', '.join(values)}}}\n"
    )
    exec(compile(source, f"<constructor of {cls.__module__}.{cls.__name__}>", "exec"), names)  # noqa: S102
    return names["__init__"]  # type: ignore[no-any-return]
