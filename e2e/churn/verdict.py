"""Which requests failed, or were answered as no configuration in force would have them answered.

A request is judged against every state that may have been in force at some moment between its start and its end: a
state begins when its change is written, and ends when all proxies have ACKed the next one. An HTTP request may ride on
a connection (of its own client, or of the client's Envoy to the server's) that the drain time of a listener still lets
use what was in force before, so its moment begins as much earlier (Envoy: "Draining"; `--drain-time-s`).
"""

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from e2e.churn.changes import Change
from e2e.churn.state import ANY, DB, GATEWAY_PORTS, RPC, SLOW, WEB, Service, State

GRACE = 0.5
"""Seconds after the ACK until a proxy's workers are taken to act on it."""

TALKED = "echoed"
"""The outcome of an exchange over TCP."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A kind of request: what is asked of whom. `extra` is the number of a service that comes and goes."""

    name: str
    service: Service
    path: str = "/"
    extra: int | None = None
    gateway_port: int | None = None


KEPT = Probe("HTTP/1.1 keep-alive", WEB)
FRESH = Probe("HTTP/1.1 fresh", WEB)
DENIED = Probe("HTTP/1.1 denied path", WEB, "/denied")
H2 = Probe("h2", RPC)
TCP = Probe("TCP", DB)
HELD = Probe("held by a fault delay", SLOW)


def at_gateway(port: int) -> Probe:
    """A request from outside to a port of the gateway's pod."""
    return Probe(f"gateway {port}", WEB, gateway_port=port)


@dataclass(frozen=True, slots=True)
class Request:
    """One request, or one exchange over TCP, and what became of it. Times are of the event loop."""

    id: str
    """Which Envoys have written to their access logs."""
    probe: Probe
    opened: float
    """When its connection was made."""
    started: float
    ended: float
    outcome: str
    """`200 VERSION`, another status, `echoed`, or the error."""


@dataclass(slots=True)
class Timeline:
    """What was told when, and since when it is in force everywhere."""

    states: list[State] = field(default_factory=lambda: [State()])
    changes: list[Change | None] = field(default_factory=lambda: [None])
    applied: list[float] = field(default_factory=lambda: [float("-inf")])
    in_force: list[float] = field(default_factory=lambda: [float("-inf")])
    """Shorter than the others while something is on its way."""
    earlier: "Timeline | None" = None
    """What was until the first state was in force: connections may still have that."""

    def add(self, change: Change, now: float) -> None:
        """A change is about to be written."""
        self.states.append(change.after)
        self.changes.append(change)
        self.applied.append(now)

    def reached(self, number: int, now: float) -> None:
        """All changes up to this one are in force."""
        self.in_force += [now] * (number + 1 - len(self.in_force))

    @property
    def underway(self) -> int:
        """How many changes are not in force yet."""
        return len(self.states) - len(self.in_force)

    def between(self, start: float, end: float) -> Sequence[State]:
        """States that may have been in force at some moment from `start` to `end`."""
        own = self.states[self._span(start, end)]
        if self.earlier is not None and start - GRACE <= self.in_force[0]:
            return [*self.earlier.between(start, end), *own]
        return own

    def changed_between(self, start: float, end: float) -> Sequence[Change]:
        """Changes that were on their way at some moment from `start` to `end`."""
        return [change for change in self.changes[self._span(start, end)][1:] if change is not None]

    def _span(self, start: float, end: float) -> slice:
        last = bisect.bisect_right(self.applied, end)
        first = bisect.bisect_left(self.in_force, start - GRACE)  # the first whose successors may be late
        return slice(max(first - 1, 0), last)


def expected(state: State, probe: Probe) -> frozenset[str] | None:
    """Outcomes that are right in a state; None where any is."""
    if probe.extra is not None and all(extra.number != probe.extra for extra in state.extras):
        return None
    if probe.gateway_port is not None:
        if probe.gateway_port not in [GATEWAY_PORTS[port] for port in state.gateway_ports]:
            return None
        return frozenset(f"200 {version}" for version in state.versions(probe.service))
    if not probe.service.http:
        return frozenset((TALKED,))
    if probe is DENIED and state.denied:
        return frozenset(("403",))
    routing = None if probe.extra is not None else state.routing.get(probe.service.name)
    splits = (routing.splits if routing is not None else ()) or (ANY,)
    return frozenset(f"200 {version}" for split in splits for version in state.versions(probe.service, split))


def wrong(
    requests: Sequence[Request], timeline: Timeline, drain_seconds: float
) -> Iterator[tuple[Request, frozenset[str]]]:
    """The requests with an outcome that no state in force explains, and the outcomes that one would have."""
    known: dict[tuple[int, Probe], frozenset[str] | None] = {}
    for request in requests:
        start = request.started - drain_seconds if request.probe.service.http else request.opened
        right: set[str] = set()
        for state in reversed(timeline.between(start, request.ended)):  # the latest is the likeliest
            key = (id(state), request.probe)  # of several runs, which number their states alike
            outcomes = known[key] if key in known else known.setdefault(key, expected(state, request.probe))
            if outcomes is None or request.outcome in outcomes:
                break
            right |= outcomes
        else:
            yield request, frozenset(right)
