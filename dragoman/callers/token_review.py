"""Callers with a token that Kubernetes vouches for."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
import jwt

from ca.caller import Caller, PodBinding
from dragoman.callers.credentials import Credentials, NotAuthenticatedError, UnavailableError
from dragoman.callers.service_account import identity

_PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
_TIMEOUT: Final = aiohttp.ClientTimeout(total=5.0)
_MAX_ANSWER: Final = 1 << 20
_GROUP: Final = "system:serviceaccounts"
_EXTRA: Final = "authentication.kubernetes.io/"
_MOUNTED: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class ApiServer:
    """A Kubernetes API server. `token_file` holds our own token, re-read for each call; `root_file` its CA."""

    url: str
    token_file: Path | None = None
    root_file: Path | None = None

    @classmethod
    def in_cluster(cls, environment: Mapping[str, str] = os.environ, mounted: Path = _MOUNTED) -> ApiServer | None:
        """The cluster that this process is a pod of, None outside (Kubernetes: accessing the API from a pod)."""
        host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT")
        if not host or not port or not (mounted / "token").exists():
            return None
        host = f"[{host}]" if ":" in host else host
        return cls(f"https://{host}:{port}", mounted / "token", mounted / "ca.crt")


class TokenReview:
    """Asks Kubernetes whose a token is (Istio: security/pkg/k8s/tokenreview). Needs the permission to create
    `tokenreviews`."""

    name = "kubernetes"

    def __init__(self, server: ApiServer, audiences: tuple[str, ...], trust_domain: Callable[[], str]) -> None:
        self._server = server
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
        server = self._server
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": list(self._audiences)},
        }
        try:
            headers = {}
            if server.token_file is not None:
                headers["Authorization"] = f"Bearer {server.token_file.read_text().strip()}"
            context = ssl.create_default_context(cafile=server.root_file) if server.root_file is not None else True
            async with (
                aiohttp.ClientSession(timeout=_TIMEOUT) as session,
                session.post(
                    server.url + _PATH, json=review, headers=headers, ssl=context, allow_redirects=False
                ) as response,
            ):
                if response.status not in (200, 201):
                    raise UnavailableError(f"Kubernetes answers {response.status} to a TokenReview")
                if (response.content_length or 0) > _MAX_ANSWER:
                    raise UnavailableError("Kubernetes' answer to a TokenReview is too large")
                answer = await response.json()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise UnavailableError(f"Kubernetes cannot be asked: {str(error) or type(error).__name__}") from None
        status = answer.get("status") if isinstance(answer, dict) else None
        if not isinstance(status, dict):
            raise UnavailableError("Kubernetes' answer to a TokenReview has no status")
        return status


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
