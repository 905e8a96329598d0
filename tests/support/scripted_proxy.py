"""A proxy without a network: it answers what a control plane sends it when the test says so."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Self

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, decode
from xds import DeltaRequest, DeltaStream

RESPONSE = "type.googleapis.com/envoy.service.discovery.v3.DeltaDiscoveryResponse"


class ScriptedProxy:
    """A proxy that answers when the test says so."""

    def __init__(self, plane: Any, session: Any) -> None:
        self.plane = plane
        self.session = session
        self.stream = DeltaStream(session.views, proxy=session.proxy_id)
        self.unanswered: list[tuple[str, str]] = []

    async def begin(self) -> Self:
        """Ask for everything, in Envoy's order, and take it."""
        for type_url in (CLUSTER, LISTENER):
            self.stream.receive(DeltaRequest(type_url), time.monotonic())
            self.take()
        for type_url in (ENDPOINT, ROUTE):
            names = tuple(name for view in self.session.views for name in view.table(type_url))
            self.stream.receive(DeltaRequest(type_url, subscribe=names), time.monotonic())
            self.take()
        return self

    def take(self, rejects: Mapping[str, str] | None = None, *, silent: bool = False) -> list[str]:
        """Answer all there is, or read it and stay silent; the names of what came."""
        names: list[str] = []
        while (response := self.stream.next_response(time.monotonic())) is not None:
            message: Any = decode(RESPONSE, response.data)
            came = [resource.name for resource in message.resources]
            names += came
            if silent:
                self.unanswered.append((response.type_url, response.nonce))
                continue
            bad = [name for name in came if name in (rejects or {})]
            error = f"Error adding/updating cluster(s) {bad[0]}: {(rejects or {})[bad[0]]}" if bad else None
            self.answer(response.type_url, response.nonce, error)
        return names

    def accept_late(self) -> None:
        """Take what was read and not answered."""
        unanswered, self.unanswered = self.unanswered, []
        for type_url, nonce in unanswered:
            self.answer(type_url, nonce)

    def answer(self, type_url: str, nonce: str, error: str | None = None) -> None:
        events = self.stream.receive(DeltaRequest(type_url, nonce=nonce, error=error), time.monotonic())
        for event in events:
            if error is None:
                self.plane.observer.acked(self.session.proxy_id, type_url, 0.0)
            else:
                named = tuple(name for name, _ in event.culprits)
                self.plane.observer.nacked(self.session.proxy_id, type_url, named, event.message)

    def close(self) -> None:
        self.stream.close()
        self.session.close()
        self.plane.observer.disconnected(self.session.proxy_id, 0.0)
