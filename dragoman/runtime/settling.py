"""Giving sessions the views that their facts call for, now or when others have answered for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable

import grpc
import structlog

from ca.authority import AuthorityError
from ca.identity import WorkloadIdentity
from dragoman.engine import Graph, Transaction
from dragoman.runtime.identities import Identities
from dragoman.runtime.secret_rights import SecretRights
from dragoman.runtime.sessions import ProxySession, Sessions
from xds import Node, Peer, Refused

log = structlog.get_logger(__name__)

_AGAIN = 5.0
_AGAIN_AT_MOST = 300.0
"""Seconds between questions to a signer for a session whose pod has become somebody else."""


class Settling:
    """Of all sessions. `turn` is held by who changes the graph, and `run` runs and publishes a transaction in it.

    A session that lacks the word of another (a certificate that an external signer makes, what an API server says of
    its rights) is settled when that has come, which is waited for outside of the turn.
    """

    def __init__(
        self,
        graph: Graph,
        sessions: Sessions,
        identities: Identities,
        rights: SecretRights,
        turn: asyncio.Lock,
        run: Callable[[Transaction], Awaitable[None]],
    ) -> None:
        self._graph = graph
        self._sessions = sessions
        self._identities = identities
        self._rights = rights
        self._turn = turn
        self._run = run
        self._awaiting: asyncio.Queue[ProxySession] = asyncio.Queue()
        """Sessions that go on with what they have until others have answered."""

    async def connect(self, node: Node, peer: Peer) -> ProxySession:
        """A session for a client of the xDS server; raises `Refused` (see `Sessions`)."""
        async with self._turn:
            tx = self._graph.transaction()
            session = self._sessions.admit(node, peer, tx)
            try:
                await self._run(tx)
                settled = await self._settle_first(session)
            except BaseException:
                session.close()
                raise
        if not settled:
            peer.give_way()
            try:
                await self._when_answered(session, self._settle_first)
            except AuthorityError as error:
                session.close()
                raise Refused(grpc.StatusCode.UNAVAILABLE, f"no certificate for this proxy: {error}") from None
            except BaseException:
                session.close()
                raise
        return session

    async def settle(self, sessions: Iterable[ProxySession]) -> None:
        """Give connected sessions the views that their facts call for now, in the turn."""
        tx = self._graph.transaction()
        followers = []
        for session in sessions:
            try:
                if self._sessions.lacking(session) is not None:
                    self._awaiting.put_nowait(session)
                    continue
                self._sessions.settle(session, tx)
            except Refused as refusal:
                # The pod went: its proxy keeps what it has until its own end, as its last requests still drain.
                log.info("proxy without a pod", proxy=session.proxy_id, reason=refusal.message)
                if session.caller is not None and session.on_refused is not None:
                    # Nor does it need the stream for that, and what it has proved no longer holds.
                    session.on_refused(refusal)
                continue
            followers.append(session)
        await self._run(tx)
        for session in followers:
            if session.on_views_changed is not None:
                session.on_views_changed()

    async def follow_answered(self) -> None:
        """Settle connected sessions whose pods have become somebody else, or came to need Secrets, when that one's
        certificate is signed and its rights are known; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                session = await self._awaiting.get()
                tasks.create_task(self._settle_again(session))

    async def _settle_first(self, session: ProxySession) -> bool:
        """Give a new session its views, in the turn; False if others must be asked before."""
        if self._sessions.lacking(session) is not None:
            return False
        tx = self._graph.transaction()
        self._sessions.settle(session, tx)
        await self._run(tx)
        return True

    async def _settle_again(self, session: ProxySession) -> None:
        async def settle(session: ProxySession) -> bool:
            if session in self._sessions:
                if self._sessions.lacking(session) is not None:
                    return False
                await self.settle([session])
            return True

        pause = _AGAIN
        while session in self._sessions:
            try:
                await self._when_answered(session, settle)
            except AuthorityError as error:
                log.error("proxy keeps its former certificate", proxy=session.proxy_id, error=str(error))
            except Refused:
                # Its pod went, or is another's now: a change, which has this session settled like any other.
                return
            else:
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, _AGAIN_AT_MOST)

    async def _when_answered(self, session: ProxySession, settle: Callable[[ProxySession], Awaitable[bool]]) -> None:
        """Settle a session once another has signed its certificate, and said what its account may read.

        Its pod may come to be somebody else meanwhile. Raises `SignerError`, `Refused`.
        """
        async with contextlib.AsyncExitStack() as reserved:
            while True:
                lacking = self._sessions.lacking(session)
                if isinstance(lacking, WorkloadIdentity):
                    await reserved.enter_async_context(self._identities.reserved(lacking))
                elif lacking is not None:
                    await self._rights.ask(lacking)
                async with self._turn:
                    if await settle(session):
                        return
