"""Random valid changes: a pure function of a seed.

Valid means that every state serves all requests of the load, and so does the way from one to the next: what a request
may still be held for keeps an endpoint, as a pod that has gone cannot be asked whatever a control plane does.
"""

import collections
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from e2e.churn.state import ANY, DB, GATEWAY_PORTS, SERVICES, WEB, Extra, Routing, Service, State

HELD = 40
"""Changes during which a subset that lost its traffic keeps an endpoint, as requests are held that chose it: longer
than the longest delay at the fastest pace."""

REPLACING = 120
"""Changes during which nothing else becomes of a pod that is replaced: it drains while its successor starts, and a
change of either would have to wait for that."""

_BALANCERS = ("LEAST_REQUEST", "ROUND_ROBIN", "RANDOM")
_SHAPES = ("weights", "weights", "header", "retries")
_MOST_EXTRAS = 4
_LABELS = ("default/*", "./*")


@dataclass(frozen=True, slots=True)
class Change:
    """From one state to the next. `replaced` is a replica whose pod gives way to a new one."""

    number: int
    kind: str
    before: State
    after: State
    replaced: tuple[Service, int] | None = None

    def __str__(self) -> str:
        return f"#{self.number} {self.kind}"


def changes(seed: int) -> Iterator[Change]:
    """Changes without end, from the state that `State()` is."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    states: collections.deque[State] = collections.deque([State()], maxlen=HELD)
    busy: dict[tuple[str, int], int] = {}
    number = 0
    while True:
        number += 1
        before = states[-1]
        change = None
        while change is None:
            kind = dice.choices(list(_KINDS), [weight for weight, _ in _KINDS.values()])[0]
            change = _KINDS[kind][1](dice, replace(before, number=number))
            if change is not None and not _is_valid(change, states, busy):
                change = None
        after, replaced = (change, None) if isinstance(change, State) else (replace(before, number=number), change)
        if replaced is not None:
            busy[replaced[0].name, replaced[1]] = number
        states.append(after)
        yield Change(number, kind, before, after, replaced)


_Outcome = State | tuple[Service, int] | None
"""A new state, a replica whose pod is replaced, or nothing that could be done."""


def _is_valid(outcome: _Outcome, states: collections.deque[State], busy: Mapping[tuple[str, int], int]) -> bool:
    now = states[-1]

    def rests(service: Service, slot: int) -> bool:
        return now.number - busy.get((service.name, slot), -REPLACING) >= REPLACING

    if isinstance(outcome, tuple):
        service, slot = outcome
        return slot in now.ready(service) and rests(service, slot)
    assert outcome is not None
    for service in SERVICES:
        moved = set(outcome.ready(service)) ^ set(now.ready(service))
        if not all(rests(service, slot) for slot in moved):
            return False
        splits = {ANY}.union(
            *(state.routing[service.name].splits for state in (*states, outcome) if service.name in state.routing)
        )
        if not all(outcome.versions(service, split) for split in splits):
            return False
    return True


def _route(dice: random.Random, state: State) -> State:
    """A subset and the route to it come, and those before them go; or both go for good."""
    service = dice.choice(SERVICES)
    if service.name in state.routing and dice.random() < 0.2:
        return replace(state, routing={k: v for k, v in state.routing.items() if k != service.name})
    choices = (ANY, *sorted(set(service.versions)))
    splits = tuple(dice.sample(choices, dice.randint(1, len(choices)))) if service.http else ()
    routing = Routing(state.number, splits, dice.choice(_SHAPES), dice.choice(_BALANCERS), dice.randint(5, 10))
    return replace(state, routing={**state.routing, service.name: routing})


def _move(dice: random.Random, state: State) -> State:
    """A replica becomes an endpoint, or is none any more."""
    service = dice.choice(SERVICES)
    slot = dice.randrange(len(service.versions))
    away = state.away.get(service.name, frozenset()) ^ {slot}
    return replace(state, away={**state.away, service.name: away})


def _replace(dice: random.Random, state: State) -> tuple[Service, int]:
    """A pod is replaced by another one, with another address."""
    service = dice.choice(SERVICES)
    return service, dice.randrange(len(service.versions))


def _policy(dice: random.Random, state: State) -> State:
    match dice.choice(("deny", "allow", "mutual tls")):
        case "deny":
            return replace(state, denied=not state.denied)
        case "allow":
            return replace(state, allowed=state.allowed ^ {dice.choice(SERVICES).name})
        case _:
            service = dice.choice(SERVICES).name
            mode = dice.choice([m for m in (None, "STRICT", "PERMISSIVE") if m != state.mutual_tls.get(service)])
            others = {k: v for k, v in state.mutual_tls.items() if k != service}
            return replace(state, mutual_tls=others if mode is None else {**others, service: mode})


def _service(dice: random.Random, state: State) -> State | None:
    """A Service comes, often with a port that no listener has, or goes."""
    if len(state.extras) == _MOST_EXTRAS or (state.extras and dice.random() < 0.5):
        gone = dice.choice(state.extras)
        return replace(state, extras=tuple(extra for extra in state.extras if extra is not gone))
    extra = Extra(state.number, dice.randint(9100, 9120), dice.random() < 0.5)
    return replace(state, extras=(*state.extras, extra))


def _inbound(dice: random.Random, state: State) -> State:
    return replace(state, ingress=state.ingress ^ {dice.choice(SERVICES).name})


def _scope(dice: random.Random, state: State) -> State:
    """A client says whom it calls, or no more: it gets other views."""
    service = dice.choice(SERVICES)
    if service.client in state.scoped:
        return replace(state, scoped={k: v for k, v in state.scoped.items() if k != service.client})
    hosts = dice.choice(_LABELS)
    if service not in (WEB, DB):  # they call the services that come and go as well
        hosts = dice.choice((hosts, f"./{service.name}.default.svc.cluster.local"))
    return replace(state, scoped={**state.scoped, service.client: (hosts,)})


def _server(dice: random.Random, state: State) -> State:
    """A server of the gateway comes or goes."""
    port = dice.choice(list(GATEWAY_PORTS)[1:])
    return replace(state, gateway_ports=tuple(sorted({*state.gateway_ports} ^ {port})))


_KINDS: Mapping[str, tuple[int, Callable[[random.Random, State], _Outcome]]] = {
    "subset and route": (34, _route),
    "endpoint moved": (18, _move),
    "pod replaced": (3, _replace),
    "policy flipped": (17, _policy),
    "service added or removed": (13, _service),
    "Sidecar ingress": (5, _inbound),
    "Sidecar egress": (4, _scope),
    "Gateway server": (6, _server),
}
