"""Following one resource of an API server, without IO: what to ask for next, and what an answer changes.

A list says what there is, a watch goes on from its resource version (Kubernetes: API concepts, efficient detection of
changes). Both may come as one stream (streaming lists), which spares the server a response of hundreds of megabytes;
servers that cannot do that are asked for pages. A watch that ends is resumed where it ended; only when the server no
longer knows that version, what there is is listed anew, and then just the objects whose version differs are news.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import msgspec

from dragoman.kube import ApiError

PAGE: Final = 500
"""Objects a page, as client-go's pager."""

_SHORTEST_WATCH, _LONGEST_WATCH = 240, 480
"""Seconds after which the server ends a watch: at random, so that a thousand watches do not end together."""
_IDLE: Final = _LONGEST_WATCH + 60.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 30.0
_DENIED_PAUSE: Final = 20.0
"""Seconds: rights are given by people."""
_DENIALS: Final = 6
"""Refusals in a row, over some three seconds, that are believed: an API server refuses everything right after its
start, as it has not read the roles yet."""
_LONG: Final = 10.0
"""Seconds after which an answer that was going on counts as a success, however it ended."""
_END_OF_INITIAL: Final = "k8s.io/initial-events-end"

Name = tuple[str, str]
"""Namespace ("" for what has none) and name."""


class Request(NamedTuple):
    """A page to get, or a stream of events. A stream on which nothing comes for `idle` seconds counts as lost."""

    query: dict[str, str]
    stream: bool
    idle: float = _IDLE


class Delta(NamedTuple):
    """An object as it is now, as JSON; None if it is gone."""

    name: Name
    data: msgspec.Raw | None


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    metadata: _ListMeta
    # An empty list of a CRD has none, one of the server's own kinds may be null.
    items: list[msgspec.Raw] | None = None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Meta(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    annotations: dict[str, str] | None = None


class _Object(msgspec.Struct):
    metadata: _Meta


class _Status(msgspec.Struct):
    code: int = 0
    reason: str = ""
    message: str = ""


_LISTS: Final = msgspec.json.Decoder(_List)
_EVENTS: Final = msgspec.json.Decoder(_Event)
_OBJECTS: Final = msgspec.json.Decoder(_Object)
_STATUSES: Final = msgspec.json.Decoder(_Status)


class Reflector:
    """What is known of the objects of one resource.

    Its driver asks `request`, hands each page to `page` or each line to `event`, and calls `ended` when the answer is
    over, which says how many seconds to wait before the next request.
    """

    def __init__(self, *, selector: str = "", streaming: bool = True, chance: Callable[[], float] = random.random):
        """`selector` is a field selector; `chance` gives numbers from 0 to 1, for jitter."""
        self._selector = selector
        self._streaming = streaming
        self._chance = chance
        self._versions: dict[Name, str] = {}
        self._version = ""
        """Where to resume the watch; empty if all has to be listed."""
        self._continue = ""
        self._seen: set[Name] | None = None
        """The objects that a list in progress has shown."""
        self._failures = 0
        self._streamed = False
        """Whether the last request was for a stream."""
        self._followed = False
        """Whether a watch has told something since."""
        self._broken = False
        self.listed = False
        """Whether all that there is has been told once."""
        self.error: ApiError | None = None
        """Why the last request failed; None while all is well."""
        self.lists = 0
        """Lists begun."""
        self.failed = 0
        """Requests that failed, or broke off."""

    def __len__(self) -> int:
        return len(self._versions)

    @property
    def settled(self) -> bool:
        """Whether there is nothing to wait for: all is listed, or the server said that it will not be."""
        return self.listed or self.denied or (self.error is not None and self.error.not_found)

    @property
    def denied(self) -> bool:
        """Whether the server says, and not just as it starts, that there is no right to read this."""
        return self.error is not None and self.error.forbidden and self._failures >= _DENIALS

    def request(self) -> Request:
        """What to ask the server for now."""
        query = {"fieldSelector": self._selector} if self._selector else {}
        self._followed, self._streamed = False, bool(self._version) or self._streaming
        if not self._version:
            if self._seen is None:
                self._seen = set()
                self.lists += 1
            if not self._streaming:
                query |= {"limit": str(PAGE)}
                if self._continue:
                    query["continue"] = self._continue
                return Request(query, stream=False)
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        else:
            query["resourceVersion"] = self._version
        seconds = _SHORTEST_WATCH + self._chance() * (_LONGEST_WATCH - _SHORTEST_WATCH)
        query |= {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(int(seconds))}
        return Request(query, stream=True)

    def page(self, body: bytes) -> Iterator[Delta]:
        """What a page changes; to be exhausted."""
        answer = _LISTS.decode(body)
        self.error = None
        for item in answer.items or ():
            yield from self._there(item, _OBJECTS.decode(item).metadata)
        self._continue = answer.metadata.continue_
        if not self._continue:
            yield from self._complete(answer.metadata.resource_version)

    def event(self, line: bytes) -> Iterator[Delta]:
        """What a line of a stream changes; to be exhausted. Raises `ApiError` for one that ends the stream."""
        event = _EVENTS.decode(line)
        if event.type == "ERROR":
            status = _STATUSES.decode(event.object)
            self._broken = True
            raise ApiError(status.code, status.reason, status.message)
        self.error, self._followed = None, self._seen is None
        meta = _OBJECTS.decode(event.object).metadata
        match event.type:
            case "ADDED" | "MODIFIED":
                yield from self._there(event.object, meta)
            case "DELETED":
                yield from self._not_there((sys.intern(meta.namespace), meta.name))
            case "BOOKMARK" if self._seen is not None and (meta.annotations or {}).get(_END_OF_INITIAL) == "true":
                yield from self._complete(meta.resource_version)
        if self._seen is None:
            self._version = meta.resource_version

    def ended(self, error: ApiError | None = None, *, lived: float = 0.0) -> float:
        """The answer is over after `lived` seconds, with an error or without; how many seconds to wait before the next
        request."""
        self.error = error
        # An error inside a stream leaves open what was missed.
        gone, self._broken = self._broken or (error is not None and _lost(error)), False
        listing = self._seen is not None
        if listing and (gone or self._streamed):
            # What is left of an unfinished list begins anew.
            self._seen, self._continue = None, ""
            if self._streamed and error is not None and (gone or not (error.unavailable or error.not_found)):
                # No streaming lists here (some versions of etcd, feature gates): pages instead, for good.
                self._streaming = False
                return 0.0
        self.failed += error is not None
        if gone:
            self._version = ""
        if lived >= _LONG or (self._followed and not gone) or (error is None and not self._streamed):
            self._failures = 0
        if error is None and (self._followed or not self._streamed):
            return _FIRST_PAUSE * self._chance() if self._streamed else 0.0
        self._failures += 1
        longest = _DENIED_PAUSE if error is not None and error.forbidden else _LONGEST_PAUSE
        pause = min(_FIRST_PAUSE * 2.0 ** (self._failures - 1), longest) * (0.5 + self._chance())
        asked = error.retry_after if error is not None else None
        return max(pause, min(asked or 0.0, _LONGEST_PAUSE))

    def __contains__(self, name: object) -> bool:
        return name in self._versions

    @property
    def names(self) -> tuple[Name, ...]:
        """The objects that are known."""
        return tuple(self._versions)

    def adopt(self, name: Name) -> None:
        """Take over an object from another reflector, before the first list: if that does not show it, it is gone."""
        self._versions[name] = ""

    def _there(self, data: msgspec.Raw, meta: _Meta) -> Iterator[Delta]:
        name = (sys.intern(meta.namespace), meta.name)
        if self._seen is not None:
            self._seen.add(name)
        # Without a version nothing is known to be the same.
        if not meta.resource_version or self._versions.get(name) != meta.resource_version:
            self._versions[name] = meta.resource_version
            yield Delta(name, data)

    def _not_there(self, name: Name) -> Iterator[Delta]:
        if self._seen is not None:
            self._seen.discard(name)
        if self._versions.pop(name, None) is not None:
            yield Delta(name, None)

    def _complete(self, version: str) -> Iterator[Delta]:
        """A list is complete: what it has not shown is gone."""
        seen, self._seen = self._seen or set(), None
        self._version = version
        self.listed = True
        for name in [name for name in self._versions if name not in seen]:
            yield from self._not_there(name)


def _lost(error: ApiError) -> bool:
    """Whether the version to go on from is of no use: too old, refused, or of a future that a restored server has not
    seen."""
    causes = error.details.get("causes") or ()
    too_new = any(cause.get("reason") == "ResourceVersionTooLarge" for cause in causes if isinstance(cause, dict))
    return error.gone or error.status == 400 or too_new
