"""Construction of messages without validation.

envoy-data-plane's classes are pydantic dataclasses: every construction validates, which costs more than everything else
done with a message. The translators are typed code, so production trusts them; with DRAGOMAN_STRICT=1 in the
environment pydantic stays in charge, and tests then find wrong types and fields of a oneof set together.
"""

import dataclasses
import os
from typing import Any

from betterproto2 import Message

from dragoman.codec import schema

STRICT = os.environ.get("DRAGOMAN_STRICT") == "1"


def _generate(cls: type[Message]) -> Any:
    """Return an `__init__` that takes the dataclass's arguments and stores them as they are."""
    parameters: list[str] = []
    values: list[str] = []
    defaults: dict[str, object] = {}
    metadata = {field.name: meta for field, meta in schema.fields(cls)}
    described: Any = dataclasses.fields(cls)  # type: ignore[arg-type]
    for field in described:
        meta, name = metadata[field.name], field.name
        if meta.repeated or meta.map_meta:
            parameters.append(f"{name}=None")
            values.append(f"{name!r}: {'[]' if meta.repeated else '{}'} if {name} is None else {name}")
        else:
            # Defaults are immutable (numbers, text, enum members, None), so one object serves all instances.
            defaults[f"_default_{meta.number}"] = field.default_factory()
            parameters.append(f"{name}=_default_{meta.number}")
            values.append(f"{name!r}: {name}")
    values.append("'_unknown_fields': b''")
    # ConfigSource has a field called "self": the instance is therefore positional-only, under a name no field has.
    source = (
        f"def __init__({', '.join(['_instance', '/', *parameters])}):\n"
        f"    _instance.__dict__ = {{{', '.join(values)}}}\n"
    )
    exec(compile(source, f"<constructor of {cls.__module__}.{cls.__name__}>", "exec"), defaults)  # noqa: S102
    return defaults["__init__"]


def _defer(cls: type[Message]) -> None:
    """Give `cls` a constructor that generates the real one when it is first called."""

    def first(message: Message, /, *args: object, **fields: object) -> None:
        constructor = _generate(cls)
        cls.__init__ = constructor  # type: ignore[method-assign]
        constructor(message, *args, **fields)

    cls.__init__ = first  # type: ignore[method-assign, assignment]


def install_trusted_constructors() -> None:
    """Replace the constructors of all message classes, those imported later included. Calling it again does nothing."""
    pool: Any = schema.POOL
    if "register_message" in vars(pool):
        return
    register = pool.register_message

    def register_message(package_name: str, message_name: str, message_type: type[Message]) -> None:
        register(package_name, message_name, message_type)
        _defer(message_type)

    pool.register_message = register_message
    for cls in list(pool.type_to_url):
        _defer(cls)
