"""Whether a verified caller may be the proxy that it says it is.

Istio compares namespace and service account (Istio: pilot/pkg/xds/authentication.go, PILOT_ENABLE_XDS_IDENTITY_CHECK).
A token that is bound to a pod is held to that pod as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import grpc

from ca.caller import Caller
from dragoman.mesh.identities import PodIdentity
from dragoman.mesh.proxy_id import ProxyId
from xds import Refused


def require_own_name(caller: Caller, proxy: ProxyId, metadata: Mapping[str, Any]) -> None:
    """Raise `Refused` unless the node id and what the node says of itself fit the caller."""
    own = caller.identities
    namespaces = {identity.namespace for identity in own}
    for namespace in (proxy.namespace, *_claimed(metadata, "NAMESPACE")):
        if namespace not in namespaces:
            _refuse(caller, f"may not be a proxy of namespace {namespace!r}", "in its node id or metadata")
    accounts = {identity.service_account for identity in own}
    for account in _claimed(metadata, "SERVICE_ACCOUNT"):
        if account not in accounts:
            _refuse(caller, f"may not run as service account {account!r}", "in its metadata")
    bound = caller.pod
    if bound is not None and (bound.namespace, bound.name) != (proxy.namespace, proxy.name):
        _refuse(
            caller,
            f"has a token of pod {bound.name}.{bound.namespace} and may not be {proxy.short}",
            "in its node id",
        )


def require_own_pod(caller: Caller, pod: str, found: PodIdentity) -> None:
    """Raise `Refused` unless the pod runs as the caller, now: another may have got its name since."""
    if not any(
        (identity.namespace, identity.service_account) == (found.namespace, found.service_account)
        for identity in caller.identities
    ):
        _refuse(
            caller,
            f"may not be pod {pod}.{found.namespace}, which runs as service account {found.service_account!r}",
            "in its node id",
        )
    if caller.pod is not None and caller.pod.uid and found.uid and caller.pod.uid != found.uid:
        _refuse(caller, f"has a token of an earlier pod {pod}.{found.namespace}", "by the uid of its token")


def _claimed(metadata: Mapping[str, Any], key: str) -> Iterator[str]:
    value = metadata.get(key)
    if value:
        yield str(value)


def _refuse(caller: Caller, what: str, where: str) -> None:
    who = ", ".join(map(str, caller.identities))
    raise Refused(
        grpc.StatusCode.PERMISSION_DENIED,
        f"{who} (by {caller.source}) {what}, as it claims {where}: give the proxy the token and the node id of one and "
        "the same pod",
    )
