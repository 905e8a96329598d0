"""What schemas say of each field, for `kubectl explain`."""

import inspect

import msgspec


def described(message: type[msgspec.Struct], field: str) -> str:
    """What a field is for; empty where its name says it all."""
    return ""


def summary(message: type[msgspec.Struct]) -> str:
    """What a message is for: its documentation, as one paragraph of plain text."""
    return " ".join((inspect.getdoc(message) or "").split()).replace("`", "")
