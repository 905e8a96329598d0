"""Callers with a token that Kubernetes vouches for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import jwt
import msgspec

from ca.caller import Caller, PodBinding
from dragoman.callers.credentials import Credentials, NotAuthenticatedError, UnavailableError
from dragoman.callers.service_account import identity
from dragoman.kube import ApiError, Cluster
from dragoman.kube.resources import TOKEN_REVIEWS

_WITHIN: Final = 5.0
"""Seconds: a proxy waits."""
_GROUP: Final = "system:serviceaccounts"
_EXTRA: Final = "authentication.kubernetes.io/"


class TokenReview:
    """Asks Kubernetes whose a token is (Istio: security/pkg/k8s/tokenreview). Needs the permission to create
    `tokenreviews`."""

    name = "kubernetes"

    def __init__(self, cluster: Cluster, audiences: tuple[str, ...], trust_domain: Callable[[], str]) -> None:
        self._cluster = cluster
        self._audiences = audiences
        self._trust_domain = trust_domain

    async def authenticate(self, credentials: Credentials) -> Caller | None:
        if credentials.token is None:
            return None
        status = await self._review(credentials.token)
        if status.get("authenticated") is not True:
            raise NotAuthenticatedError(
                f"Kubernetes does not know the token: {status.get('error') or 'no reason given'}"
            )
        # An API server that does not know audiences leaves them out, and then the token is for itself (Kubernetes API:
        # TokenReviewStatus).
        if not set(status.get("audiences") or ()) & set(self._audiences):
            wanted = " or ".join(map(repr, self._audiences))
            raise NotAuthenticatedError(f"the token is for another audience than {wanted}")
        user = status.get("user") or {}
        if _GROUP not in (user.get("groups") or ()):
            raise NotAuthenticatedError("the token is not that of a service account")
        who = identity(user.get("username"), self._trust_domain())
        extra = user.get("extra") or {}
        pod = _first(extra, "pod-name")
        bound = PodBinding(who.namespace, pod, _first(extra, "pod-uid"), _first(extra, "node-name")) if pod else None
        return Caller((who,), self.name, bound, _expiry(credentials.token))

    async def _review(self, token: str) -> Mapping[str, Any]:
        review = {
            "apiVersion": TOKEN_REVIEWS.api_version,
            "kind": TOKEN_REVIEWS.kind,
            "spec": {"token": token, "audiences": list(self._audiences)},
        }
        try:
            answer = await self._cluster.request("POST", TOKEN_REVIEWS.path(), body=review, within=_WITHIN)
            status = msgspec.json.decode(answer, type=_Answer).status
        except ApiError as error:
            raise UnavailableError(f"Kubernetes cannot be asked: {error}") from None
        except msgspec.MsgspecError:
            # What it says may quote the token.
            raise UnavailableError("Kubernetes' answer to a TokenReview has no status") from None
        return status


class _Answer(msgspec.Struct):
    status: dict[str, Any]


def _first(extra: Mapping[str, Any], key: str) -> str:
    values = extra.get(_EXTRA + key) or ()
    return str(values[0]) if values else ""


def _expiry(token: str) -> datetime | None:
    """When a token that has been vouched for expires: the review does not say."""
    try:
        seconds = jwt.decode(token, options={"verify_signature": False}).get("exp")
        return None if seconds is None else datetime.fromtimestamp(float(seconds), UTC)
    except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError):
        return None
