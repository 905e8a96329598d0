"""Which policies hold for a workload.

PeerAuthentication: port > workload > namespace > mesh > PERMISSIVE, oldest first in one scope, UNSET inherits
(Istio: pilot/pkg/security/authn/policy_applier.go, ComposePeerAuthentication). AuthorizationPolicy: all that are
attached to the workload, of the root namespace and its own (Istio: pilot/pkg/model/authorization.go).
"""

from __future__ import annotations

import enum

from crds.authorizationpolicy import AuthorizationPolicy
from crds.peerauthentication import MutualTLSMode, PeerAuthentication
from dragoman.engine import Graph, consult, query
from dragoman.mesh.attachment import attached, attachments, match_labels
from dragoman.mesh.inputs import (
    AUTHORIZATION_POLICIES,
    PEER_AUTHENTICATIONS,
    REQUEST_AUTHENTICATIONS,
    SERVICE_NAMES,
    SIDECARS,
    chosen,
)
from dragoman.mesh.labels import Labels, projected, selects
from dragoman.mesh.services import service
from dragoman.mesh.settings import root_namespace


class MtlsMode(enum.StrEnum):
    DISABLE = "DISABLE"
    PERMISSIVE = "PERMISSIVE"
    STRICT = "STRICT"


def _written(mode: MutualTLSMode | None) -> MtlsMode | None:
    return None if mode is None or mode == MutualTLSMode.UNSET else MtlsMode(mode.value)


@query
def namespace_mtls_mode(g: Graph, namespace: str) -> MtlsMode:
    """The mode of a namespace without regard to workload policies: what clients can know of a service."""
    for scope in dict.fromkeys((namespace, root_namespace(g))):
        for policy in consult(g, PEER_AUTHENTICATIONS, scope):
            if not match_labels(policy):
                chosen(g, policy)
                mode = _written(policy.spec.mtls.mode if policy.spec.mtls is not None else None)
                if mode is not None:
                    return mode
                break  # only the oldest of a scope counts, even when it leaves the mode unset
    return MtlsMode.PERMISSIVE


@query
def _workload_policy(g: Graph, namespace: str, labels: Labels) -> PeerAuthentication | None:
    if namespace == root_namespace(g):
        return None  # a selector in the root namespace has no meaning for PeerAuthentication
    for policy in consult(g, PEER_AUTHENTICATIONS, namespace):
        if match_labels(policy) and selects(match_labels(policy), labels):
            return chosen(g, policy)
    return None


@query
def workload_mtls_mode(g: Graph, namespace: str, labels: Labels) -> MtlsMode:
    """The mode of a workload's ports that no port-level setting names."""
    policy = _workload_policy(g, namespace, labels)
    own = _written(policy.spec.mtls.mode) if policy is not None and policy.spec.mtls is not None else None
    return own if own is not None else namespace_mtls_mode(g, namespace)


@query
def port_mtls_modes(g: Graph, namespace: str, labels: Labels) -> tuple[tuple[int, MtlsMode], ...]:
    """Port-level modes of a workload, by workload port; UNSET falls back to the workload's mode."""
    policy = _workload_policy(g, namespace, labels)
    if policy is None:
        return ()
    inherited = workload_mtls_mode(g, namespace, labels)
    return tuple(
        sorted((int(port), _written(level.mode) or inherited) for port, level in policy.spec.port_level_mtls.items())
    )


def mtls_mode(g: Graph, namespace: str, labels: Labels, port: int) -> MtlsMode:
    """The mode of one workload port."""
    seen = projected(labels, consult(g, policy_label_keys, namespace))
    found = dict(port_mtls_modes(g, namespace, seen)).get(port)
    return found if found is not None else workload_mtls_mode(g, namespace, seen)


@query
def authorization_policies(g: Graph, namespace: str, labels: Labels) -> tuple[AuthorizationPolicy, ...]:
    """Policies that hold for a workload: the root namespace's first, then its own namespace's, oldest first in each."""
    found: list[AuthorizationPolicy] = []
    for scope in dict.fromkeys((root_namespace(g), namespace)):
        by_pair = consult(g, _policies_by_pair, scope)
        near = [entry for pair in (None, *labels) for entry in by_pair.get(pair, ())]
        near.sort(key=lambda entry: entry[0])
        found += (chosen(g, policy) for _, policy in near if attached(policy, namespace, labels))
    return tuple(found)


@query
def _policies_by_pair(
    g: Graph, namespace: str
) -> dict[tuple[str, str] | None, tuple[tuple[int, AuthorizationPolicy], ...]]:
    """The policies of a namespace, each with its place, by a label that whoever they hold for must have; None: none.

    One with targets is here under each, of which a workload is no more than one.
    """
    found: dict[tuple[str, str] | None, list[tuple[int, AuthorizationPolicy]]] = {}
    listed = consult(g, AUTHORIZATION_POLICIES, namespace)
    for place, policy in enumerate(listed):
        for wanted in attachments(policy, namespace):
            found.setdefault(min(wanted.items(), default=None), []).append((place, policy))
    return {pair: tuple(listed) for pair, listed in found.items()}


@query
def policy_label_keys(g: Graph, namespace: str) -> frozenset[str]:
    """Label keys that some selector reads on workloads of a namespace: the only ones that make classes differ."""
    keys: set[str] = set()
    for scope in dict.fromkeys((root_namespace(g), namespace)):
        for policy in consult(g, PEER_AUTHENTICATIONS, scope):
            keys.update(match_labels(policy))
        for authorization in consult(g, AUTHORIZATION_POLICIES, scope):
            keys.update(*attachments(authorization, namespace))
        for authentication in consult(g, REQUEST_AUTHENTICATIONS, scope):
            keys.update(*attachments(authentication, namespace))
    for sidecar in consult(g, SIDECARS, namespace):
        if sidecar.spec.workload_selector is not None:
            keys.update(sidecar.spec.workload_selector.labels)
    for name in SERVICE_NAMES(g, namespace):
        found = consult(g, service, namespace, name)
        if found is not None:
            keys.update(key for key, _ in found.selector)
    return frozenset(keys)
