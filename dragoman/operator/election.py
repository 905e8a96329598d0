"""Which of the replicas does what only one may do: a Lease, held, watched and let go of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from dragoman.kube import ApiError, Cluster
from dragoman.kube.resources import LEASES
from dragoman.operator.candidate import Attempt, Candidate, Record, Timing
from dragoman.operator.watched import Watched
from dragoman.sources.kubernetes.reflector import Name

log = structlog.get_logger(__name__)

LEASE: Final = "dragoman-leader"
"""In the control plane's namespace, shared by its revisions: what one of them writes the other need not."""

_RELEASE_WITHIN: Final = 2.0
"""Seconds: who stops waits no longer for a server that does not answer."""

Duty = Callable[[], Coroutine[Any, Any, None]]


class Election:
    """Runs duties while this replica leads.

    `replica` is a name that no other process has; those that name the same `lease` compete. Each duty is started anew
    whenever leadership is won, and cancelled when it is lost, some seconds before another replica can win it.
    """

    def __init__(
        self, cluster: Cluster, namespace: str, replica: str, timing: Timing | None = None, *, lease: str = LEASE
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = lease
        self._candidate = Candidate(replica, timing)
        self._duties: list[Duty] = []
        self._wake = asyncio.Event()
        self._doubtful = False
        self._acquired = ""
        self._work: asyncio.Task[None] | None = None
        self._lease = Watched(LEASES, self._heard, namespace=namespace, name=lease, read=record_of)

    def add(self, duty: Duty) -> None:
        """Have something done by the leader. Before `run`."""
        self._duties.append(duty)

    @property
    def leads(self) -> bool:
        """Whether this replica leads now."""
        return self._candidate.leads(time.monotonic())

    @property
    def leader(self) -> str:
        """Who leads, as far as is known; empty for nobody."""
        return self._candidate.leader

    async def run(self) -> None:
        """Take part until cancelled; then let go of the Lease, so that another replica takes over at once."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._lease.run(self._cluster))
                tasks.create_task(self._take_part())
        finally:
            await self._stop_work()
            await self._release()

    async def _take_part(self) -> None:
        await self._read()
        while True:
            if self._doubtful:
                self._doubtful = False
                await self._read()
            attempt = self._candidate.attempt(time.monotonic())
            if attempt is not None:
                await self._write(attempt)
            await self._follow()
            await self._sleep()

    async def _sleep(self) -> None:
        """Until something is heard, a write is due, or leadership ends."""
        due, until = self._candidate.due(), self._candidate.until
        end = due if until is None or self._work is None else min(due, until)
        try:
            async with asyncio.timeout(max(0.0, end - time.monotonic())):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _follow(self) -> None:
        """Start or stop the work as leadership is won or lost."""
        if self._work is not None and self._work.done():
            self._work.result()  # it never ends by itself but by an error, which is to be seen
        if self.leads and self._work is None:
            log.info("leads", lease=self._name, replica=self._candidate.name)
            self._work = asyncio.create_task(self._do())
            self._work.add_done_callback(lambda _: self._wake.set())
        elif not self.leads and self._work is not None:
            log.warning("leads no longer", lease=self._name, replica=self._candidate.name, leader=self.leader)
            await self._stop_work()

    async def _do(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for duty in self._duties:
                tasks.create_task(duty())

    async def _stop_work(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    # -- the Lease --------------------------------------------------------------------------------------------------

    def _heard(self, _: Name) -> None:
        record = self._lease.get((self._namespace, self._name))
        if not self._candidate.holds:
            self._candidate.observed(record, time.monotonic())
        elif record is None or record.holder != self._candidate.name:
            # A watch may be late: what it tells may be older than what was written from here.
            self._doubtful = True
        self._wake.set()

    async def _read(self) -> None:
        try:
            record = record_of(await self._cluster.get(LEASES, self._name, self._namespace))
        except ApiError as error:
            if not error.not_found:
                log.warning("cannot read the Lease", error=str(error))
                self._candidate.failed(time.monotonic())
                return
            record = None
        self._candidate.observed(record, time.monotonic())

    async def _write(self, attempt: Attempt) -> None:
        sent_at = time.monotonic()
        document = self._document(attempt)
        try:
            async with asyncio.timeout(self._candidate.timing.leads_for):
                if attempt.version:
                    written = await self._cluster.replace(LEASES, document)
                else:
                    written = await self._cluster.create(LEASES, document)
        except (ApiError, TimeoutError) as error:
            if not (isinstance(error, ApiError) and (error.conflict or error.already_exists)):
                log.warning("cannot write the Lease", error=str(error) or "no answer")
            self._candidate.failed(time.monotonic())
            await self._read()
            return
        self._candidate.wrote(record_of(written), sent_at, time.monotonic())

    async def _release(self) -> None:
        attempt = self._candidate.release()
        if attempt is None:
            return
        try:
            async with asyncio.timeout(_RELEASE_WITHIN):
                await self._cluster.replace(LEASES, self._document(attempt))
            log.info("let go of the Lease", lease=self._name, replica=self._candidate.name)
        except (ApiError, TimeoutError) as error:
            log.info("could not let go of the Lease", error=str(error) or "no answer")

    def _document(self, attempt: Attempt) -> dict[str, Any]:
        """The Lease to be written. Its times are for people: nobody compares them."""
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        if attempt.acquires:
            self._acquired = now
        spec: dict[str, Any] = {
            "leaseDurationSeconds": int(attempt.duration),
            "leaseTransitions": attempt.transitions,
            "renewTime": now,
        }
        if attempt.holder:
            spec |= {"holderIdentity": attempt.holder, "acquireTime": self._acquired or now}
        metadata = {"name": self._name, "namespace": self._namespace}
        if attempt.version:
            metadata["resourceVersion"] = attempt.version
        return {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}


def record_of(document: dict[str, Any]) -> Record:
    """A Lease as the API server has it."""
    spec = document.get("spec") or {}
    return Record(
        spec.get("holderIdentity") or "",
        float(spec.get("leaseDurationSeconds") or 0),
        spec.get("leaseTransitions") or 0,
        document["metadata"]["resourceVersion"],
    )
