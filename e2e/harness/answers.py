"""What a client got, in the words of the echo application where that is who answered."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response. Header names are lower case; of a repeated header the values are joined by a comma."""

    status: int
    protocol: str
    """`HTTP/1.1` or `HTTP/2`, between the client and whoever it spoke with."""
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def echo(self) -> "Echo":
        """What the echo application saw of the request. Raises ValueError when the answer is from someone else."""
        return Echo(**self.json)


@dataclass(frozen=True, slots=True)
class Echo:
    """A request as it reached the echo application."""

    workload: str
    version: str
    protocol: str
    """`HTTP/1.1` or `HTTP/2`, between the application and its sidecar."""
    tls: bool
    """Whether the application itself ended TLS."""
    peer: str
    """The address the connection came from: 127.0.0.6 behind a sidecar's inbound listener."""
    method: str
    host: str
    path: str
    headers: Mapping[str, str]
    body: str
