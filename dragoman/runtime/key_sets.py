"""Keys of the issuers that RequestAuthentications name: fetched by the control plane, kept fresh, handed to the engine.

A push never waits for them: until the keys of an issuer are there, its tokens are refused (Istio:
pilot/pkg/model/jwks_resolver.go), and what was fetched last stays in force while an issuer does not answer.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog
from prometheus_client import CollectorRegistry, Counter

from crds import jwks
from crds.meta import ObjectKey
from dragoman.callers.address_rules import AddressRules
from dragoman.callers.fetch import Fetcher, FetchError
from dragoman.callers.openid import key_set_uri
from dragoman.engine import Graph
from dragoman.mesh.inputs import JWKS_FETCHER, KeyFetcher
from dragoman.mesh.request_authentications import KeySource, key_uses
from dragoman.runtime.blame import Origin
from dragoman.runtime.key_schedule import REFRESH_AFTER, KeySchedule, State
from dragoman.runtime.key_set_store import KeySetStore

log = structlog.get_logger(__name__)

LONGEST_FETCH: Final = 30.0
"""Seconds, whatever a rule says: fetches that hang must not hold up others."""

_REDIRECTS: Final = 3
"""Redirects followed to the keys of an issuer."""

Store = Callable[[Mapping[KeySource, str | None]], Awaitable[None]]


class KeyFetching(NamedTuple):
    """From which addresses keys may be fetched, after how many seconds anew, and by whom; the file that keeps them."""

    addresses: AddressRules = AddressRules()
    refresh_after: float = REFRESH_AFTER
    fetcher: KeyFetcher = KeyFetcher.CONTROL_PLANE
    kept_in: Path | None = None


@dataclass(frozen=True, slots=True)
class UnfetchedKeys:
    """Keys that could not be fetched, by the rules of `policies`; `kept` if those of before stay in force."""

    source: KeySource
    problem: str
    policies: tuple[Origin, ...]
    kept: bool


def _nowhere(keys: Iterable[ObjectKey]) -> tuple[Origin, ...]:
    return tuple(map(Origin, keys))


class KeySets:
    """Fetches what the rules of `graph` name. `store` puts key sets into the engine, None for one that is gone;
    `locate` knows where policies are written; `on_problem` is told when keys cannot be fetched, once for each new
    reason."""

    def __init__(
        self,
        graph: Graph,
        fetching: KeyFetching,
        store: Store,
        registry: CollectorRegistry,
        *,
        locate: Callable[[Iterable[ObjectKey]], tuple[Origin, ...]] = _nowhere,
        on_problem: Callable[[UnfetchedKeys], None] = lambda problem: None,
    ) -> None:
        graph.apply([(JWKS_FETCHER, None, fetching.fetcher)])
        self._uses = graph.mount(key_uses.call())
        self._fetcher = Fetcher(fetching.addresses, redirects=_REDIRECTS)
        self._store = store
        self._locate = locate
        self._on_problem = on_problem
        self._schedule = KeySchedule(random.Random(), refresh_after=fetching.refresh_after)  # noqa: S311 - jitter
        self._kept = KeySetStore(fetching.kept_in)
        self._of_before = self._kept.load()
        self._under_way: dict[asyncio.Task[None], KeySource] = {}
        self._fetched: dict[KeySource, str | None] = {}
        self._news = asyncio.Event()
        self._before: Any = None
        self._success = Counter(
            "pilot_jwks_resolver_network_fetch_success", "Key sets of token issuers fetched.", registry=registry
        )
        self._fail = Counter(
            "pilot_jwks_resolver_network_fetch_fail", "Fetches of key sets that failed.", registry=registry
        )

    @property
    def states(self) -> Mapping[KeySource, State]:
        """What is known, by source; times are those of `time.monotonic`."""
        return self._schedule.states

    def policies(self, state: State) -> tuple[Origin, ...]:
        """Whose rules name a source."""
        return self._locate(state.use.policies)

    def follow(self) -> None:
        """Take over what the rules name now."""
        found = self._uses.value()
        if isinstance(found, tuple) and found is not self._before:
            self._before = found
            new = {use.source for use in found} - self._schedule.states.keys()
            self._schedule.use(found, time.monotonic(), self._of_before)
            self._fetched |= {source: self._of_before[source] for source in new & self._of_before.keys()}
            self._news.set()

    async def first(self, seconds: float) -> None:
        """Fetch what is due, and wait for what was never there, but not for longer than this."""
        self._begin()
        missing = [task for task, source in self._under_way.items() if self.states[source].text is None]
        if missing:
            await asyncio.wait(missing, timeout=seconds)
        await self._deliver()

    async def run(self) -> None:
        """Fetch what is due when it is, until cancelled."""
        try:
            while True:
                self._news.clear()
                self._begin()
                await self._deliver()
                deadline = self._schedule.deadline()
                wait = None if deadline is None else max(deadline - time.monotonic(), 0.0)
                # Not wait_for: it loses a cancellation that comes together with the event (Python 3.11).
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._news.wait()
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    def _begin(self) -> None:
        for source in self._schedule.start(time.monotonic()):
            task = asyncio.create_task(self._fetch(source))
            self._under_way[task] = source
            task.add_done_callback(self._under_way.pop)

    async def _deliver(self) -> None:
        self._fetched |= dict.fromkeys(self._schedule.forget(time.monotonic()))
        fetched, self._fetched = self._fetched, {}
        if fetched:
            await self._store(fetched)
            states = self._schedule.states
            self._of_before = {source: state.text for source, state in states.items() if state.text is not None}
            await asyncio.to_thread(self._kept.save, self._of_before)

    async def _fetch(self, source: KeySource) -> None:
        state = self._schedule.states[source]
        try:
            text = await self._key_set(source, min(state.use.timeout.total_seconds(), LONGEST_FETCH))
        except FetchError as error:
            self._failed(state, str(error))
        except Exception as error:
            # What the server says must not end the fetching, whatever it breaks.
            log.exception("a key set that breaks its reader", source=source.uri)
            self._failed(state, f"{source.uri} cannot be read: {type(error).__name__}")
        else:
            self._success.inc()
            if self._schedule.succeeded(source, text, time.monotonic()):
                log.info("keys of a token issuer fetched", source=source.uri)
                self._fetched[source] = text
        self._news.set()

    async def _key_set(self, source: KeySource, seconds: float) -> str:
        uri = source.uri
        if source.discovered:
            uri = await key_set_uri(self._fetcher, source.uri, seconds=seconds)
        document = await self._fetcher.get(uri, seconds=seconds)
        try:
            found = jwks.read(document, shared_secrets=False)
        except jwks.KeySetError as error:
            raise FetchError(f"{uri} is no JSON Web Key Set: {error}") from None
        if found.text is None:
            raise FetchError(f"{uri} has no key that verifies signatures")
        return found.text

    def _failed(self, state: State, problem: str) -> None:
        self._fail.inc()
        source = state.use.source
        if self._schedule.failed(source, problem, time.monotonic()):
            kept = state.text is not None
            log.error("keys of a token issuer not fetched", source=source.uri, error=problem, kept=kept)
            self._on_problem(UnfetchedKeys(source, problem, self.policies(state), kept))
