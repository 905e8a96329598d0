"""What tokens of service accounts say (Kubernetes: bound service account tokens)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ca.caller import PodBinding
from ca.identity import InvalidIdentityError, SpiffeId
from dragoman.callers.credentials import NotAuthenticatedError

USER_PREFIX: Final = "system:serviceaccount:"
CLAIMS: Final = "kubernetes.io"
"""The private claim that holds what the token is bound to."""


def identity(user: object, trust_domain: str) -> SpiffeId:
    """The identity of the user `system:serviceaccount:NAMESPACE:NAME`; raises `NotAuthenticatedError` for others."""
    if not isinstance(user, str) or not user.startswith(USER_PREFIX) or user.count(":") != 3:
        raise NotAuthenticatedError("the token is not that of a service account")
    _, _, namespace, name = user.split(":")
    try:
        return SpiffeId(trust_domain, namespace, name)
    except InvalidIdentityError as error:
        raise NotAuthenticatedError(f"the token names no service account: {error}") from None


def binding(claims: Mapping[str, Any], identity: SpiffeId) -> PodBinding | None:
    """The pod that a token is bound to, None if to none; raises `NotAuthenticatedError` for claims that are at odds."""
    bound = claims.get(CLAIMS)
    if bound is None:
        return None
    if not isinstance(bound, Mapping):
        raise NotAuthenticatedError(f"the token's claim {CLAIMS!r} is malformed")
    if bound.get("namespace") != identity.namespace:
        raise NotAuthenticatedError("the token's namespace and its subject are at odds")
    pod, node = bound.get("pod"), bound.get("node")
    if pod is None:
        return None
    if not isinstance(pod, Mapping) or not isinstance(name := pod.get("name"), str) or not name:
        raise NotAuthenticatedError(f"the token's claim {CLAIMS!r} names no pod")
    return PodBinding(
        namespace=identity.namespace,
        name=name,
        uid=str(pod.get("uid") or ""),
        node=str(node.get("name") or "") if isinstance(node, Mapping) else "",
    )
