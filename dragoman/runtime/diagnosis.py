"""Whose doing it is when a resource fails, when proxies reject it, or when a credential is of no use."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import structlog

from crds.meta import ObjectKey
from crds.problem import Severity
from dragoman.codec import Ref
from dragoman.engine import Call, Failure, Graph
from dragoman.provenance import origins
from dragoman.runtime.blame import Origin, RejectedResource, to_blame
from dragoman.runtime.credential_problems import CredentialProblem
from dragoman.runtime.credentials import Credentials
from dragoman.runtime.mounted_views import Mounted, MountedViews
from dragoman.runtime.sessions import Sessions
from xds import Resource, View

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FailedResource:
    """A resource of a view that cannot be made; what proxies have of it stays. `origins` are the objects at fault."""

    view: str
    call: Call[Any]
    failure: Failure
    origins: tuple[Origin, ...]

    @property
    def reason(self) -> str:
        return str(self.failure.error) or type(self.failure.error).__name__


@dataclass(frozen=True, slots=True)
class UnusableCredential:
    """A problem of a credential that proxies need, with the objects to look at, the one at fault first."""

    found: CredentialProblem
    origins: tuple[Origin, ...]


class Diagnosis:
    """Names the objects behind what goes wrong; `locate` tells the file and line of an object."""

    def __init__(
        self,
        graph: Graph,
        mounted: MountedViews,
        sessions: Sessions,
        credentials: Credentials,
        locate: Callable[[ObjectKey], str | None],
    ) -> None:
        self._graph = graph
        self._mounted = mounted
        self._sessions = sessions
        self._credentials = credentials
        self._locate = locate

    def rejected(self, proxy: str, ref: Ref) -> RejectedResource:
        """What a connected proxy rejected, by whose doing, and what is served instead; a name alone if that is gone."""
        for session in self._sessions:
            if session.proxy_id == proxy:
                for view in session.views:
                    wanted = view.wanted(ref)
                    if wanted is not None:
                        return self.rejected_of(view, wanted)
        return RejectedResource(ref[1], "", (), False, None)

    def rejected_of(self, view: View, wanted: Resource) -> RejectedResource:
        """What is to be said of a resource of a view that some proxy rejected."""
        blocked = view.blocked().get(wanted.ref)
        good = None if blocked is None else blocked.good
        made_from = self.located(self._to_blame(view, wanted, good))
        served = None if blocked is None else view.get(wanted.ref)
        served_instead = None if served is None else served.version
        return RejectedResource(wanted.name, wanted.version, made_from, blocked is not None, served_instead)

    def failed(self, mounted: Mounted, call: Call[Any], failure: Failure) -> FailedResource:
        """What is to be said, and is written to the log, of a resource that begins to fail."""
        resource = FailedResource(mounted.view.name, call, failure, self.located(origins(self._graph, call)))
        log.error(
            "resource failed",
            view=resource.view,
            resource=call.query.__name__,
            error=resource.reason,
            at=failure.location,
            made_from=list(map(str, resource.origins)),
        )
        return resource

    def unusable(self, found: CredentialProblem) -> UnusableCredential:
        """What is to be said, and is written to the log, of a credential that comes to have a problem."""
        unusable = UnusableCredential(found, self.located(found.objects))
        log.log(
            logging.ERROR if found.problem.severity is Severity.ERROR else logging.WARNING,
            "credential unusable",
            code=found.problem.code,
            namespace=found.namespace,
            credential=found.name,
            error=found.problem.message,
            made_from=list(map(str, unusable.origins)),
            kept_last_good=found.kept_last_good,
        )
        return unusable

    def unusable_credentials(self) -> tuple[UnusableCredential, ...]:
        """Credentials that have a problem now."""
        return tuple(UnusableCredential(found, self.located(found.objects)) for found in self._credentials.problems)

    def located(self, keys: Iterable[ObjectKey]) -> tuple[Origin, ...]:
        """Objects with their places."""
        return tuple(Origin(key, self._locate(key)) for key in keys)

    def _to_blame(self, view: View, wanted: Resource, good: Resource | None) -> tuple[ObjectKey, ...]:
        if view.secret:
            return self._credentials.made_from(view, wanted.name)
        for mounted in self._mounted:
            if mounted.view is view:
                call = mounted.publication.owner(wanted.ref)
                return () if call is None else to_blame(self._graph, call, wanted, good)
        return ()
