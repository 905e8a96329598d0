"""What the echo server answers, for every protocol the same.

The request is told back as JSON (`e2e.harness.answers.Echo`). Its query has a say in how:

    ?status=503      answer with this status
    ?delay=0.5       wait so many seconds before the answer
    ?size=100000     a body of that many bytes instead of the JSON
    ?header=a:b      a response header, any number of times
    ?close=reset     no answer: the connection is reset
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True, slots=True)
class Workload:
    """Who answers."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came in. Header names are lower case."""

    protocol: str
    tls: bool
    peer: str
    method: str
    host: str
    path: str
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True, slots=True)
class Response:
    """What to answer; with `reset`, nothing."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    delay_seconds: float
    reset: bool


def respond(workload: Workload, request: Request) -> Response:
    """The answer to a request."""
    query = parse_qs(urlsplit(request.path).query)
    size = int(query.get("size", ["0"])[0])
    body = {"workload": workload.name, "version": workload.version, **asdict(request)}
    pairs = (header.partition(":") for header in query.get("header", []))
    return Response(
        status=int(query.get("status", ["200"])[0]),
        headers=(("content-type", "application/json"), *((name.lower(), value) for name, _, value in pairs)),
        body=b"x" * size if size else json.dumps(body).encode(),
        delay_seconds=float(query.get("delay", ["0"])[0]),
        reset=query.get("close") == ["reset"],
    )
