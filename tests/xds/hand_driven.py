"""What clients of both protocols can do that are driven by hand."""

from abc import ABC, abstractmethod
from typing import Any

from xds.stream import Stream


class HandDriven(ABC):
    """A client of `stream`, at a time of the test's choice."""

    stream: Stream[Any]

    @abstractmethod
    def next(self):
        """Return the next response, its type first, or None."""

    @abstractmethod
    def ack(self, type_url: str, error: str | None = None):
        """Answer the last response of a type."""

    def take(self):
        """Take everything there is, ACKing each; return what came."""
        came = []
        while (response := self.next()) is not None:
            came.append(response)
            self.ack(response[0])
        return came

    def in_sync(self) -> bool:
        return all(status.in_sync for status in self.stream.status())
