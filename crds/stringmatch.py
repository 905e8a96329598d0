"""How a VirtualService matches a string."""

from crds.model import Message


class StringMatch(Message, frozen=True):
    """One of exact, prefix, or RE2 regex (full match). None of them set: the value only has to be present."""

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None
