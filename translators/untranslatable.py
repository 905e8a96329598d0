"""The error of an object that our validation let through but that Envoy would refuse."""

from __future__ import annotations


class UntranslatableError(ValueError):
    """Envoy would reject a message made of this field, and with it every virtual host of the same configuration.

    `path` is the field below the part that is being translated, such as `match.uri.regex`; it grows on the way up.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(path, message)
        self.path = path
        self.message = message

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"

    def under(self, path: str) -> UntranslatableError:
        """The same error as the owner of the part sees it."""
        return UntranslatableError(f"{path}.{self.path}" if self.path else path, self.message)
