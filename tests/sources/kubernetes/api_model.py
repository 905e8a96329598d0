"""An API server of one resource as its watchers see it: a log of events by version, what is forgotten of it, faults."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from dragoman.kube import ApiError
from dragoman.sources.kubernetes.reflector import Delta, Name, Reflector


@dataclass
class ModelApi:
    """Objects by name, each with a value; `compact` forgets what happened before now."""

    streaming: bool = True
    version: int = 100
    objects: dict[Name, dict[str, Any]] = field(default_factory=dict)
    log: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    oldest: int = 100

    def write(self, name: Name, value: int) -> None:
        self.version += 1
        kind = "MODIFIED" if name in self.objects else "ADDED"
        self.objects[name] = self._document(name, value)
        self.log.append((self.version, kind, self.objects[name]))

    def delete(self, name: Name) -> None:
        if name in self.objects:
            self.version += 1
            gone = self.objects.pop(name)
            gone = gone | {"metadata": gone["metadata"] | {"resourceVersion": str(self.version)}}
            self.log.append((self.version, "DELETED", gone))

    def elsewhere(self) -> None:
        """Something else is written: versions go on."""
        self.version += 1

    def compact(self) -> None:
        self.oldest = self.version
        self.log.clear()

    def events(self, since: int) -> list[bytes]:
        """The events of a watch since a version. Raises `ApiError` if that is too old."""
        if since < self.oldest:
            raise ApiError(410, "Expired", "too old resource version")
        return [self._event(kind, obj) for version, kind, obj in self.log if version > since]

    def initial(self) -> list[bytes]:
        """The events of a streaming list."""
        if not self.streaming:
            raise ApiError(422, "Invalid", "sendInitialEvents is forbidden")
        meta = {"resourceVersion": str(self.version), "annotations": {"k8s.io/initial-events-end": "true"}}
        return [*(self._event("ADDED", obj) for obj in self.objects.values()), bookmark(self.version, meta)]

    def page(self, limit: int, continue_: str) -> bytes:
        """A page of a list; what comes after it is a list of the version of the first page."""
        version, start = continue_.split(":") if continue_ else (str(self.version), "")
        if int(version) < self.oldest:
            raise ApiError(410, "Expired", "the continue parameter is too old")
        names = [name for name in sorted(self.objects) if "/".join(name) > start]
        items = [self.objects[name] for name in names[:limit]]
        more = f"{version}:{'/'.join(names[limit - 1])}" if len(names) > limit else ""
        return json.dumps({"metadata": {"resourceVersion": version, "continue": more}, "items": items}).encode()

    def _document(self, name: Name, value: int) -> dict[str, Any]:
        meta = {"namespace": name[0], "name": name[1], "resourceVersion": str(self.version)}
        return {"metadata": meta, "value": value}

    def _event(self, kind: str, obj: dict[str, Any]) -> bytes:
        return json.dumps({"type": kind, "object": obj}).encode()


def bookmark(version: int, meta: dict[str, Any] | None = None) -> bytes:
    meta = meta or {"resourceVersion": str(version)}
    return json.dumps({"type": "BOOKMARK", "object": {"metadata": meta}}).encode()


def error(code: int, reason: str = "") -> bytes:
    status = {"kind": "Status", "code": code, "reason": reason, "message": reason or "no"}
    return json.dumps({"type": "ERROR", "object": status}).encode()


@dataclass
class Watcher:
    """A reflector against the model, and what its deltas add up to."""

    api: ModelApi
    reflector: Reflector
    known: dict[Name, int] = field(default_factory=dict)
    deltas: list[tuple[Name, int | None]] = field(default_factory=list)
    limit: int = 3

    def turn(self, *, cut_after: int | None = None, fault: ApiError | bytes | None = None) -> float:
        """One request and its answer, which is cut off after some lines, or fails; the pause before the next."""
        request = self.reflector.request()
        if isinstance(fault, ApiError):
            return self.reflector.ended(fault)
        try:
            if not request.stream:
                self._take(self.reflector.page(self.api.page(self.limit, request.query.get("continue", ""))))
                return self.reflector.ended()
            initial = "sendInitialEvents" in request.query
            lines = self.api.initial() if initial else self.api.events(int(request.query["resourceVersion"]))
            for line in (*lines, *((fault,) if fault is not None else ()))[:cut_after]:
                self._take(self.reflector.event(line))
        except ApiError as failure:
            return self.reflector.ended(failure)
        return self.reflector.ended()

    def settle(self) -> None:
        """Until all is known: as many turns as a few lists take."""
        for _ in range(200):
            self.turn()
            if self.reflector.listed and self.known == self.truth:
                return
        raise AssertionError(f"{self.known} is not {self.truth}")

    @property
    def truth(self) -> dict[Name, int]:
        return {name: obj["value"] for name, obj in self.api.objects.items()}

    def _take(self, deltas: Any) -> None:
        for delta in deltas:
            assert isinstance(delta, Delta)
            value = None if delta.data is None else json.loads(bytes(delta.data))["value"]
            self.deltas.append((delta.name, value))
            if value is None:
                # What was never told of is not told to be gone.
                del self.known[delta.name]
            else:
                self.known[delta.name] = value
