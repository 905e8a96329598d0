"""Which tokens a workload takes, and where their keys come from.

All RequestAuthentications that are attached to the workload hold together, of the root namespace and its own; their
rules stand in the order of issuers (Istio: pilot/pkg/security/authn/policy_applier.go).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from crds.meta import ObjectKey
from crds.requestauthentication import JWTRule, RequestAuthentication
from dragoman.engine import Graph, consult, query
from dragoman.mesh.attachment import attached
from dragoman.mesh.inputs import (
    JWKS,
    JWKS_FETCHER,
    REQUEST_AUTHENTICATION_NAMESPACES,
    REQUEST_AUTHENTICATIONS,
    KeyFetcher,
    chosen,
)
from dragoman.mesh.labels import Labels
from dragoman.mesh.protocol import Protocol
from dragoman.mesh.services import service_of
from dragoman.mesh.settings import root_namespace


class KeySource(NamedTuple):
    """Where the keys of an issuer are fetched."""

    uri: str
    """Of the key set, or the issuer whose OpenID configuration names it."""
    discovered: bool


FETCH_TIMEOUT: Final = timedelta(seconds=5)
"""How long fetching keys may take where no rule says (Istio: JWTRule.timeout)."""


class KeyServer(NamedTuple):
    """A service of the mesh that has keys: Envoy fetches them there by itself."""

    namespace: str
    name: str
    host: str
    port: int
    uri: str
    """Of the keys there, in a spelling that Envoy accepts."""


class KeyUse(NamedTuple):
    """A source that rules name."""

    source: KeySource
    timeout: timedelta
    """The longest that one of the rules allows."""
    policies: tuple[ObjectKey, ...]
    """Whose rules these are."""


@query
def jwt_rules(g: Graph, namespace: str, labels: Labels) -> tuple[JWTRule, ...]:
    """The rules that hold for a workload."""
    found = [
        rule
        for scope in dict.fromkeys((root_namespace(g), namespace))
        for policy in consult(g, REQUEST_AUTHENTICATIONS, scope)
        if attached(policy, namespace, labels)
        for rule in chosen(g, policy).spec.jwt_rules
    ]
    return tuple(sorted(found, key=lambda rule: rule.issuer))


def key_source(rule: JWTRule) -> KeySource | None:
    """Where the keys of a rule are fetched, None for a rule that holds them itself."""
    if rule.jwks:
        return None
    uri = rule.jwks_uri or rule.jwks_uri_alias
    return KeySource(rule.issuer, discovered=True) if uri is None else KeySource(uri, discovered=False)


def fetched_keys(g: Graph, source: KeySource) -> str | None:
    """The key set that was fetched last, as JSON; None before the first time."""
    return JWKS(g, source)


@query
def key_server(g: Graph, uri: str) -> KeyServer | None:
    """The service that a URI leads to, if Envoy is to fetch keys and the mesh knows it (Istio: policy_applier.go)."""
    if consult(g, JWKS_FETCHER, None) is KeyFetcher.CONTROL_PLANE:
        return None
    try:
        parts = urlsplit(uri)
        number = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return None
    found = service_of(g, parts.hostname or "")
    if found is None or found.alias_of is not None:
        return None
    port = found.port(number)
    if port is None or port.protocol is Protocol.UDP:
        return None
    authority = found.host if parts.port is None else f"{found.host}:{number}"
    spelt = urlunsplit((parts.scheme, authority, parts.path or "/", parts.query, ""))
    return KeyServer(found.namespace, found.name, found.host, number, spelt)


def fetched_by_control_plane(g: Graph, source: KeySource) -> bool:
    """Whether it is the control plane that fetches these keys. Envoy knows nothing of discovery."""
    if source.discovered:
        return True
    return consult(g, JWKS_FETCHER, None) is not KeyFetcher.ENVOY and key_server(g, source.uri) is None


@query
def key_servers(g: Graph, namespace: str) -> tuple[tuple[str, str], ...]:
    """Namespace and name of every service that Envoys of a namespace may fetch keys from."""
    scopes = dict.fromkeys((root_namespace(g), namespace))
    sources = (key_source(rule) for scope in scopes for _, rule in _rules(g, scope))
    servers = (key_server(g, source.uri) for source in sources if source is not None and not source.discovered)
    return tuple(sorted({(server.namespace, server.name) for server in servers if server is not None}))


@query
def key_uses(g: Graph) -> tuple[KeyUse, ...]:
    """All sources that the control plane fetches for the mesh's rules."""
    found: dict[KeySource, KeyUse] = {}
    for namespace in consult(g, REQUEST_AUTHENTICATION_NAMESPACES, None):
        for policy, rule in _rules(g, namespace):
            source = key_source(rule)
            if source is not None and fetched_by_control_plane(g, source):
                timeout = rule.timeout or FETCH_TIMEOUT
                before = found.get(source, KeyUse(source, timeout, ()))
                policies = tuple(dict.fromkeys((*before.policies, policy.key)))
                found[source] = KeyUse(source, max(before.timeout, timeout), policies)
    return tuple(found[source] for source in sorted(found))


def _rules(g: Graph, namespace: str) -> Iterator[tuple[RequestAuthentication, JWTRule]]:
    for policy in consult(g, REQUEST_AUTHENTICATIONS, namespace):
        for rule in policy.spec.jwt_rules:
            yield policy, rule
