"""Authenticators, asked one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter

from ca.caller import Caller
from dragoman.callers.credentials import Credentials, NotAuthenticatedError, UnavailableError

if TYPE_CHECKING:
    from xds import Peer

log = structlog.get_logger(__name__)


class Authenticator(Protocol):
    """Judges one kind of credentials."""

    @property
    def name(self) -> str:
        """In a word, for logs and metrics: `Caller.source`."""

    async def authenticate(self, credentials: Credentials) -> Caller | None:
        """Who the caller is; None if it has brought nothing of this kind.

        Raises `NotAuthenticatedError` for credentials that do not hold and `UnavailableError` if that is not known.
        """


class Authenticators:
    """The first that knows the caller decides; what the others had against it is told only if none does
    (Istio: security/pkg/server/ca/authenticate.go, and pilot/pkg/bootstrap/server.go for the order).
    """

    def __init__(self, authenticators: Sequence[Authenticator], registry: CollectorRegistry) -> None:
        self._authenticators = tuple(authenticators)
        self._accepted = Counter(
            "dragoman_callers_authenticated",
            "Calls whose caller is known, by authenticator.",
            ("by",),
            registry=registry,
        )
        self._refused = Counter(
            "dragoman_callers_refused",
            "Credentials that did not hold, by authenticator; `none` for calls without any.",
            ("by",),
            registry=registry,
        )

    async def authenticate(self, peer: Peer) -> Caller:
        """Who the caller is. Raises `NotAuthenticatedError`, or `UnavailableError` if one that could not be asked might
        have known."""
        try:
            credentials = Credentials.of(peer)
        except NotAuthenticatedError:
            self._refused.labels("none").inc()
            raise
        refusals: list[str] = []
        unavailable: list[str] = []
        for authenticator in self._authenticators:
            try:
                caller = await authenticator.authenticate(credentials)
            except NotAuthenticatedError as error:
                self._refused.labels(authenticator.name).inc()
                refusals.append(f"{authenticator.name}: {error}")
            except UnavailableError as error:
                log.error("authenticator unavailable", by=authenticator.name, error=str(error))
                unavailable.append(f"{authenticator.name}: {error}")
            else:
                if caller is not None:
                    self._accepted.labels(authenticator.name).inc()
                    return caller
        if unavailable:
            raise UnavailableError("; ".join([*unavailable, *refusals]))
        if not refusals:
            self._refused.labels("none").inc()
            refusals.append(
                "no credentials: bring a token (header `authorization: Bearer …`) or a client certificate of this mesh"
            )
        raise NotAuthenticatedError("; ".join(refusals))
