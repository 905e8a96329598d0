"""Connected proxies: who they are, which views they hold, and how that follows their pods."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import grpc
import structlog

from ca.caller import Caller
from ca.identity import InvalidIdentityError, SpiffeId, WorkloadIdentity
from dragoman.engine import Graph, Mount, Transaction, Tree, last_good, query
from dragoman.mesh.credential_uses import CredentialsView, credentials_view
from dragoman.mesh.identities import PodIdentity, identity_of
from dragoman.mesh.key_folder import KEY_FOLDER, key_folder_of
from dragoman.mesh.proxies import View as ViewKey
from dragoman.mesh.proxies import views_of
from dragoman.mesh.proxy_id import ProxyId, ProxyIdError, ProxyType
from dragoman.runtime.admission import require_own_name, require_own_pod
from dragoman.runtime.credentials import Credentials
from dragoman.runtime.identities import Identities
from dragoman.runtime.mounted_views import MountedViews
from dragoman.runtime.secret_rights import Account
from xds import Node, Peer, Refused, View

log = structlog.get_logger(__name__)


@query
def facts_of(g: Graph, kind: ProxyType, namespace: str, pod: str) -> Tree:
    """What decides what a pod's proxy gets."""
    proxy = (kind, namespace, pod)
    return Tree((views_of.call(*proxy), credentials_view.call(*proxy), identity_of.call(namespace, pod)))


class ProxySession:
    """One connected proxy (`xds.Session`)."""

    __slots__ = (
        "_sessions",
        "caller",
        "credentials",
        "expires_at",
        "facts",
        "identity",
        "key_folder",
        "keys",
        "node",
        "on_refused",
        "on_views_changed",
        "proxy",
        "proxy_id",
        "secrets",
        "views",
    )

    def __init__(self, sessions: Sessions, proxy: ProxyId, node: Node, caller: Caller | None, facts: Mount) -> None:
        self._sessions = sessions
        self.caller = caller
        self.proxy = proxy
        self.proxy_id = proxy.short
        self.node = node
        self.facts = facts
        self.keys: tuple[ViewKey, ...] = ()
        self.identity: WorkloadIdentity | None = None
        self.key_folder: str | None = None
        """Where the pod keeps its own key; None for a key from here."""
        self.secrets: View | None = None
        self.credentials: CredentialsView | None = None
        self.views: tuple[View, ...] = ()
        self.on_views_changed: Callable[[], None] | None = None
        self.on_refused: Callable[[Refused], None] | None = None
        expires = caller.expires_at if caller is not None else None
        self.expires_at = expires.timestamp() if expires is not None else None

    def close(self) -> None:
        self._sessions.close(self)


class Sessions:
    """All connected proxies.

    Keys go to callers that have proved to be the workload, and to peers that nobody else can listen to: over plaintext
    beyond loopback a proxy gets its configuration and no certificate.
    """

    def __init__(self, mounted: MountedViews, identities: Identities, credentials: Credentials) -> None:
        self._mounted = mounted
        self._identities = identities
        self._credentials = credentials
        self._sessions: dict[ProxySession, bool] = {}
        self._by_facts: dict[Mount, ProxySession] = {}

    def __iter__(self) -> Iterator[ProxySession]:
        return iter(self._sessions)

    def __len__(self) -> int:
        return len(self._sessions)

    def admit(self, node: Node, peer: Peer, tx: Transaction) -> ProxySession:
        """A session without views, whose facts the transaction looks up; `settle` gives it views in the next one."""
        try:
            proxy = ProxyId.parse(node.id)
        except ProxyIdError as error:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None
        caller: Caller | None = peer.caller
        if caller is not None:
            require_own_name(caller, proxy, node.metadata)
        try:
            folder = key_folder_of(node.metadata)
        except ValueError as error:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"node metadata {KEY_FOLDER}: {error}") from None
        facts = tx.mount(facts_of.call(proxy.type, proxy.namespace, proxy.name))
        session = ProxySession(self, proxy, node, caller, facts)
        session.key_folder = folder
        self._sessions[session] = peer.local or caller is not None
        self._by_facts[facts] = session
        return session

    def settle(self, session: ProxySession, tx: Transaction) -> None:
        """Give a session the views that its facts call for; takes new ones before it lets go of old ones.

        Raises `Refused` for a pod that does not exist (any more) or is not the caller's, or has no certificate.
        """
        keys, identity, credentials = self._judged(session)
        before, identity_before, credentials_before = session.keys, session.identity, session.credentials
        views = [self._mounted.acquire(key, tx) for key in keys]
        session.keys = keys
        if self._sessions[session]:
            session.identity = identity
            session.secrets = self._secrets_of(session, identity)
            views.append(session.secrets)
            session.credentials = credentials
            if credentials is not None:
                views.append(self._credentials.acquire(credentials, tx))
        session.views = tuple(views)
        # Holding an identity twice is holding it once, so only one that was replaced is let go.
        replaced = identity_before if identity_before != session.identity else None
        self._let_go(session, before, replaced, credentials_before)

    def lacking(self, session: ProxySession) -> WorkloadIdentity | Account | None:
        """What others must say before the session can be settled: whose certificate must be reserved, or which account
        be asked about; None if nothing. Raises `Refused`."""
        if not self._sessions.get(session):
            return None
        _, identity, credentials = self._judged(session)
        if session.key_folder is None and self._identities.lacks(identity):
            return identity
        return self._credentials.unasked(credentials) if credentials is not None else None

    def _judged(self, session: ProxySession) -> tuple[tuple[ViewKey, ...], WorkloadIdentity, CredentialsView | None]:
        """What a session's facts call for, once its pod is known and the caller's own. Raises `Refused`."""
        keys, pod_identity, credentials = self._read(session)
        if not keys or pod_identity is None:
            raise Refused(
                grpc.StatusCode.NOT_FOUND,
                f"no pod {session.proxy.namespace}/{session.proxy.name} with an address is known: "
                "is its Pod object there?",
            )
        if session.caller is not None:
            require_own_pod(session.caller, session.proxy.name, pod_identity)
        return keys, self._identities.certified(_workload_identity(pod_identity)), credentials

    def moved(self, changed: tuple[Mount, ...]) -> list[ProxySession]:
        """Sessions whose facts a transaction changed."""
        return [self._by_facts[mount] for mount in changed if mount in self._by_facts]

    def close(self, session: ProxySession) -> None:
        """Forget a session and what only it held."""
        if session not in self._sessions:
            return
        del self._sessions[session], self._by_facts[session.facts]
        session.facts.close()
        self._let_go(session, session.keys, session.identity, session.credentials)
        self._identities.release_kept(session)
        session.views = ()

    def _secrets_of(self, session: ProxySession, identity: WorkloadIdentity) -> View:
        if session.key_folder is not None:
            return self._identities.acquire_kept(session.key_folder, session)
        return self._identities.acquire(identity, session)

    def _let_go(
        self,
        session: ProxySession,
        keys: tuple[ViewKey, ...],
        identity: WorkloadIdentity | None,
        credentials: CredentialsView | None,
    ) -> None:
        for key in keys:
            self._mounted.release(key)
        if credentials is not None:
            self._credentials.release(credentials)
        if identity is not None and session.key_folder is None:
            self._identities.release(identity, session)

    def _read(self, session: ProxySession) -> tuple[tuple[ViewKey, ...], PodIdentity | None, CredentialsView | None]:
        keys: tuple[ViewKey, ...] = ()
        identity: PodIdentity | None = None
        credentials: CredentialsView | None = None
        for call, value in session.facts.leaves().items():
            found = last_good(value)
            if call.query is views_of and isinstance(found, tuple):
                keys = found
            elif call.query is identity_of and isinstance(found, PodIdentity):
                identity = found
            elif call.query is credentials_view and isinstance(found, CredentialsView):
                credentials = found
        return keys, identity, credentials


def _workload_identity(found: PodIdentity) -> WorkloadIdentity:
    try:
        spiffe = SpiffeId(found.trust_domain, found.namespace, found.service_account)
        return WorkloadIdentity(
            spiffe,
            found.workload,
            app=found.app,
            version=found.version,
            canonical_service=found.canonical_service,
            canonical_revision=found.canonical_revision,
            cluster=found.cluster,
        )
    except InvalidIdentityError as error:
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, f"no certificate can name this pod: {error}") from None
