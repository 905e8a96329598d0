"""The CA's state followed while the control plane runs (`ca.keeper`): proxies get each new trust bundle, and the state
is told when all of them have it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

import structlog

from ca.authority import AuthorityError
from ca.keeper import Keeper
from ca.rotation import Rotation, signs_under
from ca.rotation import name_of as root_name
from ca.trust_ledger import TrustLedger
from dragoman.codec import SECRET
from dragoman.runtime.identities import Identities
from dragoman.runtime.sessions import ProxySession
from xds import ConnectionStatus

log = structlog.get_logger(__name__)

_POLL_SECONDS: Final = 1.0
"""How often the state is read: another replica, or `dragoman ca rotate`, may have written it."""

_SUBSCRIBES_WITHIN: Final = timedelta(seconds=10)
"""A proxy that has not asked for secrets for so long uses none."""


class Intake(Protocol):
    """Where an operator's own CA comes from."""

    async def follow(self, keeper: Keeper) -> None:
        """Offer what there is, and each change of it, for ever."""


class RootRotation:
    """Follows `keeper` for the proxies that are connected."""

    def __init__(
        self,
        keeper: Keeper,
        identities: Identities,
        sessions: Iterable[ProxySession],
        connections: Callable[[], Iterable[ConnectionStatus]],
    ) -> None:
        self._keeper = keeper
        self._identities = identities
        self._sessions = sessions
        self._connections = connections
        self._ledger = TrustLedger()

    async def run(self) -> None:
        """Follow the state until cancelled, then tell it that this replica is gone.

        While the state cannot be read or written, what was known last is in force.
        """
        before: Rotation | None = None
        try:
            while True:
                try:
                    state = await self._keeper.turn(self._identities.use, self._waiting, datetime.now(UTC))
                    _tell(before, state)
                    before = state
                except AuthorityError as error:
                    log.error("state of the CA not followed", error=str(error))
                await asyncio.sleep(_POLL_SECONDS)
        finally:
            try:
                await asyncio.shield(self._keeper.leave())
            except AuthorityError as error:
                log.warning("state of the CA not left", error=str(error))

    def _waiting(self, bundle: str, now: datetime) -> tuple[str, ...]:
        """Who is not known to trust the bundle, which has just been given to the views."""
        behind = {status.proxy for status in self._connections() if not _has_secrets(status, now)}
        for session in self._sessions:
            identity = session.identity
            held_back = identity is not None and not self._identities.trusted(identity)
            confirmed = None if held_back or session.proxy_id in behind else bundle
            self._ledger.seen(session.proxy_id, now, confirmed=confirmed)
        return self._ledger.waiting(bundle, now)


def _has_secrets(status: ConnectionStatus, now: datetime) -> bool:
    for type_ in status.types:
        if type_.type_url == SECRET:
            return type_.in_sync
    return now - datetime.fromtimestamp(status.connected_at, UTC) > _SUBSCRIBES_WITHIN


def _tell(before: Rotation | None, state: Rotation) -> None:
    """Log what changed."""
    if before is None or before.phase is not state.phase or before.active.certificate != state.active.certificate:
        log.info(
            "rotation of the CA",
            phase=state.phase,
            signs=root_name(signs_under(state.active)),
            next=root_name(signs_under(state.next)) if state.next is not None else None,
            trusted=[root_name(root) for root in state.roots],
        )
