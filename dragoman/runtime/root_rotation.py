"""The CA's state followed while the control plane runs (`ca.keeper`): proxies get each new trust bundle, and the state
is told when all of them have it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from ca.authority import Authority, AuthorityError
from ca.keeper import Keeper
from ca.plugged_in import Given, PluggedInCa
from ca.rotation import Rotation, signs_under
from ca.rotation import name_of as root_name
from ca.trust_ledger import TrustLedger
from dragoman.codec import SECRET
from dragoman.runtime.identities import Identities
from dragoman.runtime.sessions import ProxySession
from xds import Progress

log = structlog.get_logger(__name__)

_POLL_SECONDS: Final = 1.0
"""How often the state is read: another replica, or `dragoman ca rotate`, may have written it."""

_SUBSCRIBES_WITHIN: Final = timedelta(seconds=10)
"""A proxy that has not asked for secrets for so long uses none."""


_WARN_BEFORE: Final = timedelta(days=30)
_WARN_EVERY: Final = timedelta(hours=6)


class RootRotation:
    """Follows `keeper` for the proxies that are connected."""

    def __init__(
        self,
        keeper: Keeper,
        identities: Identities,
        sessions: Iterable[ProxySession],
        progress: Callable[[], Iterable[Progress]],
        plugged_in: PluggedInCa | None = None,
    ) -> None:
        self._keeper = keeper
        self._identities = identities
        self._sessions = sessions
        self._progress = progress
        self._plugged_in = plugged_in
        self._given: Given | None = None
        """What has not come into the state yet, which may not be to be written for a while."""
        self._ledger = TrustLedger()
        self._warned_at: datetime | None = None

    async def run(self) -> None:
        """Follow the state until cancelled, then tell it that this replica is gone.

        While the state cannot be read or written, what was known last is in force.
        """
        before: Rotation | None = None
        told = ""
        try:
            while True:
                try:
                    await self._take_in()
                    state = await self._keeper.turn(self._identities.use, self._waiting, datetime.now(UTC))
                    _tell(before, state)
                    before = state
                    self._warn(state, datetime.now(UTC))
                    told = ""
                except AuthorityError as error:
                    if str(error) != told:
                        log.error("state of the CA not followed, what was known last is in force", error=str(error))
                    told = str(error)
                await asyncio.sleep(_POLL_SECONDS)
        finally:
            try:
                await asyncio.shield(self._keeper.leave())
            except AuthorityError as error:
                log.warning("state of the CA not left", error=str(error))

    async def _take_in(self) -> None:
        """Go over to the operator's own CA where that was changed."""
        try:
            if self._plugged_in is not None:
                self._given = await asyncio.to_thread(self._plugged_in.changed) or self._given
        except AuthorityError as error:
            log.error("plugged-in CA not usable, the last good one stays", error=str(error))
        if self._given is not None:
            await self._keeper.offer(self._given.authority, datetime.now(UTC))
            self._identities.revoke(self._given.revoked)
            self._given = None

    def _warn(self, state: Rotation, now: datetime) -> None:
        """Say in time that a certificate of the CA ends; nothing signed lives longer than that."""
        if self._warned_at is not None and now - self._warned_at < _WARN_EVERY:
            return
        for certificate in (state.active.certificate, *state.active.intermediates, *state.roots):
            left = certificate.not_valid_after_utc - now
            if left < _WARN_BEFORE:
                self._warned_at = now
                log.warning(
                    "certificate of the CA ends",
                    certificate=root_name(certificate),
                    not_after=certificate.not_valid_after_utc.isoformat(),
                    days_left=left.days,
                )

    async def promise(self, until: datetime) -> Authority:
        """What to sign a certificate with that lives until then (see `Keeper.promise`), in force here as well."""
        before = self._keeper.state
        authority = await self._keeper.promise(until)
        if self._keeper.state is not before:
            self._identities.use(authority)
        return authority

    def _waiting(self, bundle: str, now: datetime) -> tuple[str, ...]:
        """Who is not known to trust the bundle, which has just been given to the views."""
        behind = {progress.proxy for progress in self._progress() if not _has_secrets(progress, now)}
        for session in self._sessions:
            held_back = session.secrets is not None and not self._identities.trusted(session.secrets)
            confirmed = None if held_back or session.proxy_id in behind else bundle
            self._ledger.seen(session.proxy_id, now, confirmed=confirmed)
        return self._ledger.waiting(bundle, now)


def _has_secrets(progress: Progress, now: datetime) -> bool:
    complete = progress.types.get(SECRET)
    if complete is not None:
        return complete
    return now - datetime.fromtimestamp(progress.connected_at, UTC) > _SUBSCRIBES_WITHIN


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
