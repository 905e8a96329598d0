"""When the keys of which issuer are fetched: sans-io, in seconds of any monotonic clock."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dragoman.mesh.request_authentications import KeySource, KeyUse

REFRESH_AFTER: Final = 20 * 60.0
"""Seconds after which keys are fetched anew (Istio: PILOT_JWT_PUB_KEY_REFRESH_INTERVAL)."""

_FIRST_RETRY: Final = 1.0
_LAST_RETRY: Final = 60.0
"""Seconds to wait after a failure: doubled each time, from the first to the last of these."""

_JITTER: Final = 0.1
"""Waits are shortened by up to this share: what began together does not stay together."""

_KEEP: Final = 10 * 60.0
"""Seconds that keys are kept when no rule names them: a policy may be replaced by deleting it and making it anew."""

_AT_ONCE: Final = 32
"""Fetches that may go on at the same time."""


@dataclass(slots=True)
class State:
    """What is known of one source."""

    use: KeyUse
    due: float
    """When to fetch it next."""
    text: str | None = None
    """What was fetched last; None before the first time."""
    fetched_at: float | None = None
    failures: int = 0
    """In a row."""
    problem: str = ""
    """Of the last fetch; empty if it succeeded."""
    fetching: bool = False
    unwanted_since: float | None = None


class KeySchedule:
    """The sources in use, and when each is due: at once for a new one, then every `refresh_after` seconds, sooner after
    a failure."""

    def __init__(self, jitter: random.Random, *, refresh_after: float = REFRESH_AFTER) -> None:
        self._jitter = jitter
        self._refresh_after = refresh_after
        self._states: dict[KeySource, State] = {}

    @property
    def states(self) -> Mapping[KeySource, State]:
        """What is known, by source."""
        return self._states

    def use(self, uses: tuple[KeyUse, ...], now: float, kept: Mapping[KeySource, str] | None = None) -> None:
        """These are the sources from now on; `kept` are keys of before, good until the first fetch of a new one."""
        wanted = {use.source: use for use in uses}
        for source, use in wanted.items():
            state = self._states.get(source)
            if state is None:
                self._states[source] = State(use, due=now, text=(kept or {}).get(source))
            else:
                state.use, state.unwanted_since = use, None
        for source, state in self._states.items():
            if source not in wanted and state.unwanted_since is None:
                state.unwanted_since = now

    def start(self, now: float) -> tuple[KeySource, ...]:
        """What is to be fetched now; each is under way until `succeeded` or `failed` says how it ended.

        What keeps failing comes last: it may be made to, so that others wait.
        """
        due = sorted(
            (state.failures, state.due, source)
            for source, state in self._states.items()
            if _waits(state) and state.due <= now
        )
        begun = tuple(source for *_, source in due)[: self._room()]
        for source in begun:
            self._states[source].fetching = True
        return begun

    def succeeded(self, source: KeySource, text: str, now: float) -> bool:
        """`text` was fetched; whether it is another one than before."""
        state = self._states.get(source)
        if state is None:
            return False
        changed = text != state.text
        state.text, state.fetched_at, state.fetching = text, now, False
        state.failures, state.problem = 0, ""
        state.due = now + self._jittered(self._refresh_after)
        return changed

    def failed(self, source: KeySource, problem: str, now: float) -> bool:
        """The fetch failed, and what was there stays; whether that is news."""
        state = self._states.get(source)
        if state is None:
            return False
        news = problem != state.problem
        wait = min(_FIRST_RETRY * 2 ** min(state.failures, 16), _LAST_RETRY, self._refresh_after)
        state.failures, state.problem, state.fetching = state.failures + 1, problem, False
        state.due = now + self._jittered(wait)
        return news

    def forget(self, now: float) -> tuple[KeySource, ...]:
        """Forget what no rule has named for long; returns it."""
        gone = tuple(
            source
            for source, state in self._states.items()
            if state.unwanted_since is not None and not state.fetching and now >= state.unwanted_since + _KEEP
        )
        for source in gone:
            del self._states[source]
        return gone

    def deadline(self) -> float | None:
        """When `start` or `forget` has something to do next, without further news; None for never."""
        times = [state.due for state in self._states.values() if _waits(state)] if self._room() else []
        times += [
            state.unwanted_since + _KEEP
            for state in self._states.values()
            if state.unwanted_since is not None and not state.fetching
        ]
        return min(times, default=None)

    def _room(self) -> int:
        return max(_AT_ONCE - sum(state.fetching for state in self._states.values()), 0)

    def _jittered(self, seconds: float) -> float:
        return seconds * (1 - _JITTER * self._jitter.random())


def _waits(state: State) -> bool:
    return not state.fetching and state.unwanted_since is None
