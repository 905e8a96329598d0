"""The base of every message inside an Istio `spec`: frozen, camelCase on the outside, unknown fields refused."""

import msgspec


class Message(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True
):
    """An Istio API message.

    Attributes are the snake_case of the JSON names (with a trailing underscore where Python reserves the word).
    `None` means "not written", which for most of Istio's API differs from the zero value; lists are tuples and maps
    are dicts that nobody mutates.
    """
