"""Asking the debug pages of a running control plane."""

from __future__ import annotations

import http.client
import json
from typing import Any, Final
from urllib.parse import urlencode

from dragoman.cli.addresses import HostPort

_TIMEOUT_SECONDS: Final = 30.0  # what a proxy of ten thousand services gets takes a while to write


class NoAnswerError(Exception):
    """There is no answer, or it is an error; the text is for people."""


def fetch(address: HostPort, path: str, *, token: str | None = None, **query: str) -> Any:
    """The JSON of a page; raises `NoAnswerError`."""
    asked = with_query(path, query)
    return document(f"{address}{path}", *get(address, asked, token=token))


def with_query(path: str, query: dict[str, str]) -> str:
    """The path with these parameters."""
    return f"{path}?{urlencode(query)}" if query else path


def get(address: HostPort, path: str, *, token: str | None = None) -> tuple[int, bytes]:
    """Status and body of a page; raises `NoAnswerError`."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=_TIMEOUT_SECONDS)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    except OSError as error:
        raise NoAnswerError(f"no answer from the debug pages at {address}: {error.strerror or error}") from None
    except http.client.HTTPException as error:
        raise NoAnswerError(f"{address} does not speak HTTP: {error!r}") from None
    finally:
        connection.close()


def document(page: str, status: int, body: bytes) -> Any:
    """The JSON that a page answered with; raises `NoAnswerError` where there is none, or it is an error."""
    try:
        found = json.loads(body)
    except ValueError:
        raise NoAnswerError(f"{page} answered {status} and no JSON") from None
    if status != http.client.OK:
        said = found.get("error") if isinstance(found, dict) else None
        raise NoAnswerError(f"{page} answered {status}: {said or found}")
    return found
