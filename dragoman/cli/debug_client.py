"""Asking the debug pages of a running control plane."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlencode

from dragoman.cli.addresses import HostPort
from dragoman.cli.output import fail

_TIMEOUT_SECONDS = 10.0


class NoAnswerError(Exception):
    """There is no answer, or it is an error; the text is for people."""


def ask(address: HostPort, path: str, *, token: str | None = None, **query: str) -> Any:
    """The JSON of a page. Ends the command (exit code 1) when there is no answer, or it is an error."""
    try:
        return fetch(address, path, token=token, **query)
    except NoAnswerError as error:
        raise fail(str(error)) from None


def fetch(address: HostPort, path: str, *, token: str | None = None, **query: str) -> Any:
    """The JSON of a page; raises `NoAnswerError`."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=_TIMEOUT_SECONDS)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        connection.request("GET", f"{path}?{urlencode(query)}" if query else path, headers=headers)
        response = connection.getresponse()
        body = response.read()
    except OSError as error:
        raise NoAnswerError(
            f"no answer from the debug pages at {address} (--http-address): {error.strerror or error}"
        ) from None
    except http.client.HTTPException as error:
        raise NoAnswerError(f"{address} (--http-address) does not speak HTTP: {error!r}") from None
    finally:
        connection.close()
    try:
        document = json.loads(body)
    except ValueError:
        raise NoAnswerError(f"{address}{path} answered {response.status} and no JSON") from None
    if response.status != http.client.OK:
        said = document.get("error") if isinstance(document, dict) else None
        raise NoAnswerError(f"{address}{path} answered {response.status}: {said or document}")
    return document
