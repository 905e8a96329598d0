"""Trust bundles that others publish: fetched, kept fresh, and kept while their publisher does not answer.

A bundle endpoint is authenticated by its name and the system's authorities (SPIFFE: Federation, section 5.2.1, profile
https_web), so that it is never asked without TLS, and its redirects lead nowhere.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, Protocol

import structlog
from cryptography import x509

from ca.bundle import BundleError, read_spiffe_bundle
from dragoman.callers.fetch import FetchError
from dragoman.runtime.trust_bundle_store import TrustBundleStore

log = structlog.get_logger(__name__)

REFRESH_AFTER: Final = 300
"""Seconds, where the publisher does not say (SPIFFE: Trust Domain and Bundle, section 4.1.2, has it to the reader)."""
SOONEST: Final = 30
LATEST: Final = 3600
"""Seconds: bounds of what a publisher may ask for."""

_LONGEST_FETCH: Final = 10.0

_FIRST_RETRY: Final = 1.0
_LAST_RETRY: Final = 60.0
"""Seconds to wait after a failure: doubled each time, from the first to the last of these."""

_JITTER: Final = 0.1
"""Waits are shortened by up to this share: replicas that began together do not stay together."""


class Documents(Protocol):
    """Where bundles come from (`dragoman.callers.fetch.Fetcher`)."""

    async def get(self, url: str, *, seconds: float) -> bytes: ...


class TrustBundles:
    """The bundles at the URLs that `follow` was told last. `on_change` hears of each that is another than before.

    What `store` kept of before stands for a bundle until it is fetched.
    """

    def __init__(
        self, documents: Documents, on_change: Callable[[], None], store: TrustBundleStore | None = None
    ) -> None:
        self._documents = documents
        self._on_change = on_change
        self._store = store or TrustBundleStore()
        self._of_before = dict(self._store.load())
        self._wanted: dict[str, asyncio.Event] = {}
        """Each with whether it was tried once."""
        self._roots: dict[str, tuple[x509.Certificate, ...]] = {}
        self._followers: dict[str, asyncio.Task[None]] = {}
        self._news = asyncio.Event()
        self._saving = asyncio.Lock()
        """So that the newest is what stays in the file."""

    def roots(self, url: str) -> tuple[x509.Certificate, ...]:
        """What was fetched last; nothing before the first time."""
        return self._roots.get(url, ())

    def follow(self, urls: Iterable[str]) -> None:
        """These are the URLs from now on; what came from others is forgotten."""
        self._wanted = {url: self._wanted.get(url) or asyncio.Event() for url in urls}
        self._roots = {
            url: roots
            for url in self._wanted
            if (roots := self._roots.get(url, self._of_before.pop(url, None))) is not None
        }
        for url in self._followers.keys() - self._wanted.keys():
            self._followers.pop(url).cancel()
        self._news.set()

    async def first(self, seconds: float) -> None:
        """Try each that nothing is known of, but wait for no longer than this."""
        self._begin()
        unknown = [tried for url, tried in self._wanted.items() if url not in self._roots]
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for tried in unknown:
                    await tried.wait()

    async def run(self) -> None:
        """Fetch what is due when it is, until cancelled."""
        try:
            while True:
                self._news.clear()
                self._begin()
                await self._news.wait()
        finally:
            for task in self._followers.values():
                task.cancel()
            await asyncio.gather(*self._followers.values(), return_exceptions=True)

    def _begin(self) -> None:
        for url in self._wanted.keys() - self._followers.keys():
            self._followers[url] = asyncio.create_task(self._follow_one(url))

    async def _follow_one(self, url: str) -> None:
        failures, problem = 0, ""
        while True:
            before, problem = problem, ""
            wait: float = SOONEST
            try:
                wait = await self._fetch(url)
            except (FetchError, BundleError) as error:
                problem = str(error)
            except Exception as error:
                # What a publisher says must not end the fetching, whatever it breaks.
                log.exception("a trust bundle that breaks its reader", url=url)
                problem = type(error).__name__
            if problem:
                wait = min(_FIRST_RETRY * 2 ** min(failures, 16), _LAST_RETRY)
                failures += 1
                if problem != before:
                    log.error("trust bundle not fetched", url=url, error=problem, kept=url in self._roots)
            else:
                failures = 0
            tried = self._wanted.get(url)
            if tried is not None:
                tried.set()
            await asyncio.sleep(wait * (1 - _JITTER * random.random()))  # noqa: S311 - jitter

    async def _fetch(self, url: str) -> float:
        """Seconds until it is fetched anew."""
        bundle = read_spiffe_bundle(await self._documents.get(url, seconds=_LONGEST_FETCH))
        if url in self._wanted and bundle.roots != self._roots.get(url):
            self._roots[url] = bundle.roots
            log.info("trust bundle fetched", url=url, roots=len(bundle.roots))
            self._on_change()
            async with self._saving:
                await asyncio.to_thread(self._store.save, dict(self._roots))
        return min(max(bundle.refresh_seconds or REFRESH_AFTER, SOONEST), LATEST)
