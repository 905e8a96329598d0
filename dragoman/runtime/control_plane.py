"""The control plane as one object: load, serve, follow changes, stop."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import grpc
import structlog
from cryptography import x509
from prometheus_client import CollectorRegistry

from ca.audit import Audit
from ca.authority import DEFAULT_LIFETIME, Authority
from ca.caller import Caller
from ca.keeper import Keeper
from ca.plugged_in import PluggedInCa
from ca.workload_certificates import WorkloadCertificates
from crds.meta import ObjectKey, ObjectMeta
from dragoman.callers.authenticators import Authenticator, Authenticators
from dragoman.callers.client_certificate import ClientCertificate
from dragoman.callers.credentials import NotAuthenticatedError, UnavailableError
from dragoman.engine import Call, Failure, Graph, Transaction
from dragoman.mesh.inputs import JWKS
from dragoman.mesh.request_authentications import KeySource
from dragoman.mesh.world import World
from dragoman.runtime import garbage
from dragoman.runtime.added_roots import AddedRoots
from dragoman.runtime.certificate_service import CertificateRequests, CertificateService
from dragoman.runtime.change_counts import ChangeCounts
from dragoman.runtime.credential_problems import CredentialProblem
from dragoman.runtime.credentials import Credentials
from dragoman.runtime.diagnosis import Diagnosis, FailedResource, UnusableCredential
from dragoman.runtime.external_signing import ExternalSigning
from dragoman.runtime.governor import Governor
from dragoman.runtime.identities import Identities
from dragoman.runtime.impersonation import NodeAccounts
from dragoman.runtime.key_sets import KeyFetching, KeySets, UnfetchedKeys
from dragoman.runtime.mounted_views import Mounted, MountedViews
from dragoman.runtime.observer import Nack, StreamObserver
from dragoman.runtime.programming import Programming
from dragoman.runtime.quarantine_store import QuarantineStore
from dragoman.runtime.root_rotation import RootRotation
from dragoman.runtime.secret_rights import EverySecret, SecretRights
from dragoman.runtime.sessions import ProxySession, Sessions
from dragoman.runtime.settling import Settling
from dragoman.runtime.statuses import Statuses
from dragoman.runtime.trust_domains import TrustDomains
from dragoman.sources.change import Batch, Report
from dragoman.turns import TURN
from xds import Limits, Node, Peer, Refused, XdsServer

log = structlog.get_logger(__name__)

_CHANGES_AT_ONCE = 200
"""Changes of objects taken in between two turns of the streams: about two milliseconds."""

_FORGET_EVERY = 10.0
"""Seconds between searches for what nobody observes any more."""

_FIRST_KEYS = 5.0
"""Longest wait for keys before proxies are let in, in seconds: a restart must not take from proxies what they have."""

_RIGHTS_EVERY = 30.0
"""Seconds between questions whether gateways may still read their Secrets."""

_FORGET_AT_ONCE = 1000
"""Queries forgotten between two turns of the streams: some milliseconds."""


class Source(Protocol):
    """Where objects come from."""

    def load(self) -> Batch: ...
    def watch(self) -> AsyncIterator[Batch]: ...
    def reports(self) -> tuple[Report, ...]: ...
    def reports_of(self, key: ObjectKey) -> tuple[Report, ...]: ...
    def metadata(self, key: ObjectKey) -> ObjectMeta | None: ...
    def location(self, key: ObjectKey) -> str | None: ...


def _by_certificate(trust_domains: TrustDomains) -> Sequence[Authenticator]:
    return (ClientCertificate(trust_domains.all),)


class ControlPlane:
    """Everything that runs.

    `on_batch` is told of each batch when its changes are in force, `on_nack` of each rejection by a proxy, `on_failure`
    of each resource that begins to fail, `on_credential` of each credential that comes to have a problem,
    `on_unfetched_keys` of keys of token issuers that cannot be fetched, which is done as `key_fetching` says;
    `authenticators` judge who calls over TLS, by default by client certificates; `keeper`
    keeps `authority` and follows its rotation and changes of the CA that is `plugged_in`; without one the
    authority stays as it is. With `signing` another signs what workloads get, and the authority only what the control
    plane has itself. Agents that run as one of the
    `trusted_node_accounts` (namespace, name) get certificates for the pods of their node. `registry` gets the metrics.
    """

    def __init__(
        self,
        source: Source,
        authority: Authority,
        *,
        registry: CollectorRegistry | None = None,
        limits: Limits | None = None,
        quarantine: QuarantineStore | None = None,
        certificate_lifetime: timedelta = DEFAULT_LIFETIME,
        keeper: Keeper | None = None,
        plugged_in: PluggedInCa | None = None,
        trusted_node_accounts: frozenset[tuple[str, str]] = frozenset(),
        authenticators: Callable[[TrustDomains], Sequence[Authenticator]] = _by_certificate,
        on_batch: Callable[[Batch], None] = lambda batch: None,
        on_nack: Callable[[Nack], None] = lambda nack: None,
        on_failure: Callable[[FailedResource], None] = lambda failed: None,
        on_credential: Callable[[UnusableCredential], None] = lambda found: None,
        on_unfetched_keys: Callable[[UnfetchedKeys], None] = lambda keys: None,
        key_fetching: KeyFetching = KeyFetching(),  # noqa: B008 - frozen
        rights: SecretRights = EverySecret(),  # noqa: B008 - has no state
        signing: ExternalSigning | None = None,
    ) -> None:
        self.registry = registry or CollectorRegistry()
        self._changes = ChangeCounts(self.registry)
        self.graph = Graph()
        self.world = World()
        self.quarantine = QuarantineStore() if quarantine is None else quarantine
        self.mounted = MountedViews(self.quarantine)
        certificates = WorkloadCertificates(
            authority,
            lambda: datetime.now(UTC),
            random.Random(),  # noqa: S311 - jitter
            lifetime=certificate_lifetime,
            signed_elsewhere=signing is not None,
        )
        self.audit = Audit(self.registry)
        self.identities = Identities(certificates, self.audit, signing)
        self.credentials = Credentials(self.world.objects, self._tell_credential, rights)
        self._rights = rights
        self.sessions = Sessions(self.mounted, self.identities, self.credentials)
        self._turn = asyncio.Lock()
        self._settling = Settling(self.graph, self.sessions, self.identities, rights, self._turn, self._run)
        self.diagnosis = Diagnosis(self.graph, self.mounted, self.sessions, self.credentials, source.location)
        self.programming = Programming(self.graph, self.mounted, self.world.objects, self.diagnosis.rejected_of)
        self.statuses = Statuses(self.graph, self.world.objects, source, self.programming, self.credentials)
        self.observer = StreamObserver(
            self.registry, self.diagnosis.rejected, self._tell_nack, self.programming.answered
        )
        self.trust_domains = TrustDomains(self.graph)
        self._added_roots = AddedRoots(self.graph, self.identities, key_fetching)
        self.key_sets = KeySets(
            self.graph,
            key_fetching,
            self._take_keys,
            self.registry,
            locate=self.diagnosis.located,
            on_problem=on_unfetched_keys,
        )
        self._authenticators = Authenticators(authenticators(self.trust_domains), self.registry)
        self.server = XdsServer(self.connect, authenticate=self.authenticate, observer=self.observer, limits=limits)
        self.rotation = (
            RootRotation(keeper, self.identities, self.sessions, self.server.progress, plugged_in)
            if keeper is not None
            else None
        )
        requests = CertificateRequests(
            self._promise,
            lambda: self.identities.roots,
            self.audit,
            NodeAccounts(trusted_node_accounts, self.world.objects),
            signing=signing,
        )
        self.server.add_service(CertificateService(requests, self._caller, self.audit).handler())
        self.ready = False
        """Whether proxies are served."""
        self.source = source
        self._on_batch = on_batch
        self._on_nack = on_nack
        self._on_failure = on_failure
        self._on_credential = on_credential
        self._governor = Governor()
        self._pending: list[Batch] = []
        self._arrived = asyncio.Event()

    @property
    def authority(self) -> Authority:
        """What signs now, with the trust bundle."""
        return self.identities.authority

    async def load(self) -> Batch:
        """The first full load: nothing is served before it, or a restart would look like removals."""
        started = time.perf_counter()
        batch = await asyncio.to_thread(self.source.load)
        await self._take_in([batch])
        garbage.settle()
        log.info("loaded", objects=len(self.world.objects), seconds=round(time.perf_counter() - started, 3))
        return batch

    async def start(self) -> None:
        """Let proxies in; after `load`, and after the server was told where to listen."""
        await asyncio.gather(self.key_sets.first(_FIRST_KEYS), self._added_roots.bundles.first(_FIRST_KEYS))
        await self.server.start()
        self.ready = True

    async def run(self) -> None:
        """Follow the source and renew certificates until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._apply())
            tasks.create_task(self.identities.renew())
            tasks.create_task(self.key_sets.run())
            tasks.create_task(self._added_roots.bundles.run())
            tasks.create_task(self._forget())
            tasks.create_task(self.quarantine.run())
            tasks.create_task(self._follow_rights())
            tasks.create_task(self.programming.run())
            tasks.create_task(self._settling.follow_answered())
            if self.rotation is not None:
                tasks.create_task(self.rotation.run())

    async def _follow(self) -> None:
        async for batch in self.source.watch():
            self._pending.append(batch)
            self._governor.arrived(len(batch.changes))
            self._arrived.set()

    async def _apply(self) -> None:
        while True:
            await self._arrived.wait()
            await asyncio.sleep(self._governor.pause())
            self._arrived.clear()
            batches, self._pending = self._pending, []
            await self._take_in(batches)

    async def _take_in(self, batches: Iterable[Batch]) -> None:
        listed = list(batches)
        changes = [change for batch in listed for change in batch.changes]
        async with self._turn:
            self.programming.announce(change.key for change in changes)
            tx = self.graph.transaction()
            for start in range(0, len(changes), _CHANGES_AT_ONCE):
                if start:
                    await asyncio.sleep(0)
                slice_ = changes[start : start + _CHANGES_AT_ONCE]
                for cell in self.world.apply(slice_):
                    tx.set(*cell)
                self._changes.changed(slice_)
            self._changes.taken_in({change.key.kind for change in changes})
            await self._finish(tx, frozenset(change.key for change in changes))
        self.statuses.took(listed)
        for batch in listed:
            self._on_batch(batch)

    async def _take_keys(self, fetched: Mapping[KeySource, str | None]) -> None:
        async with self._turn:
            tx = self.graph.transaction()
            for source, keys in fetched.items():
                tx.set(JWKS, source, keys)
            await self._finish(tx)

    async def _finish(self, tx: Transaction, keys: frozenset[Any] = frozenset()) -> None:
        """Run a transaction and hand out what it changed; sessions whose facts changed follow at once."""
        await self._run(tx, keys)
        moved = self.sessions.moved(tx.changed)
        settled = [session for session in moved if session.views]
        if settled:
            await self._settling.settle(settled)

    async def _run(self, tx: Transaction, keys: frozenset[Any] = frozenset()) -> None:
        """Run a transaction and publish it, in slices."""
        for _ in self.programming.begin(keys):
            await asyncio.sleep(0)
        with garbage.growing() if self.mounted.growing else contextlib.nullcontext():
            for _ in tx.run(TURN):
                await asyncio.sleep(0)
            for failed in self.mounted.publish(tx.changed):
                if failed is None:
                    await asyncio.sleep(0)
                else:
                    self._tell_failure(*failed)
        for _ in self.programming.publish(tx.changed):
            await asyncio.sleep(0)
        for _ in self.credentials.publish(tx.changed, keys):
            await asyncio.sleep(0)
        self._added_roots.follow()
        self.key_sets.follow()

    def _tell_nack(self, nack: Nack) -> None:
        self.programming.rejected()
        self._on_nack(nack)

    def _tell_failure(self, mounted: Mounted, call: Call[Any], failure: Failure) -> None:
        self.programming.failed(mounted, call)
        self._on_failure(self.diagnosis.failed(mounted, call, failure))

    def _tell_credential(self, found: CredentialProblem) -> None:
        unusable = self.diagnosis.unusable(found)
        self.statuses.follow_credentials()
        self._on_credential(unusable)

    async def authenticate(self, peer: Peer) -> Caller | None:
        """Who is at the other end of a TLS connection; None over plaintext, where proofs could be stolen.

        Raises `Refused` for callers that prove nothing.
        """
        if not peer.secure:
            return None
        if peer.certificate is not None and self.identities.revoked(x509.load_der_x509_certificate(peer.certificate)):
            raise Refused(grpc.StatusCode.UNAUTHENTICATED, "the client certificate is revoked")
        try:
            return await self._authenticators.authenticate(peer)
        except NotAuthenticatedError as error:
            raise Refused(grpc.StatusCode.UNAUTHENTICATED, str(error)) from None
        except UnavailableError as error:
            raise Refused(grpc.StatusCode.UNAVAILABLE, str(error)) from None

    async def _caller(self, context: grpc.aio.ServicerContext[bytes, bytes]) -> Caller | None:
        """Who calls a service beside xDS; raises `Refused`."""
        caller = await self.authenticate(self.server.peer(context))
        if caller is not None:
            self.server.prove(context)
        return caller

    async def _promise(self, until: datetime) -> Authority:
        return self.authority if self.rotation is None else await self.rotation.promise(until)

    async def connect(self, node: Node, peer: Peer) -> ProxySession:
        """A session for a client of the xDS server; raises `Refused` (see `Sessions`)."""
        return await self._settling.connect(node, peer)

    async def _follow_rights(self) -> None:
        while True:
            await asyncio.sleep(_RIGHTS_EVERY)
            if changed := await self._rights.renew(self.credentials.accounts()):
                async with self._turn:
                    for _ in self.credentials.follow_rights(changed):
                        await asyncio.sleep(0)

    async def _forget(self) -> None:
        while True:
            await asyncio.sleep(_FORGET_EVERY)
            async with self._turn:
                for _ in self.credentials.follow_time():
                    await asyncio.sleep(0)
                gone = _FORGET_AT_ONCE
                while gone:
                    gone = self.graph.forget_unobserved(time.monotonic(), at_most=_FORGET_AT_ONCE)
                    await asyncio.sleep(0)
