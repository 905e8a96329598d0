"""A signer behind the Kubernetes API: certificates by CertificateSigningRequest (Kubernetes: Certificates and
Certificate Signing Requests; Istio: security/pkg/k8s/chiron, with EXTERNAL_CA=ISTIOD_RA_KUBERNETES_API)."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import structlog

from ca.signer import SignerError
from dragoman.kube import ApiError, Cluster
from dragoman.kube.resources import CERTIFICATE_SIGNING_REQUESTS as REQUESTS

log = structlog.get_logger(__name__)

SHORTEST: Final = timedelta(minutes=10)
"""No certificate may be asked for that lives shorter (Kubernetes: spec.expirationSeconds)."""

PATIENCE: Final = 20.0
"""Seconds that a signer may take. Envoy asks again by itself; more waiting proxies would not make the signer faster."""

_AGAIN: Final = 0.5
"""Seconds before an API server is asked again that ended a watch, or did not answer."""

_DELETED_WITHIN: Final = 5.0
"""Seconds."""

_USAGES: Final = ("digital signature", "key encipherment", "server auth", "client auth")
_BY: Final = "dragoman.io/requested-by"
_NAME: Final = "dragoman-workload-"


class CertificateSigningRequests:
    """Has `signer_name` sign, by requests that are approved here where that is allowed, else by whoever does.

    Requests are deleted as soon as they are answered (`ca.signer.Signer`).
    """

    def __init__(self, cluster: Cluster, signer_name: str, replica: str, *, patience: float = PATIENCE) -> None:
        self._cluster = cluster
        self._signer_name = signer_name
        self._replica = replica
        self._patience = patience

    async def sign(self, csr_pem: bytes, *, lifetime: timedelta) -> bytes:
        """The chain as the signer gives it. Raises `SignerError`."""
        if lifetime < SHORTEST:
            raise SignerError(
                f"a life of {lifetime} is shorter than the {SHORTEST} that a Kubernetes signer may be asked"
            )
        name = _NAME + secrets.token_hex(10)
        waiting = "its answer"
        try:
            async with asyncio.timeout(self._patience):
                request = await self._create(name, csr_pem, lifetime)
                refused = await self._approve(request)
                waiting = f"approval, which we may not give: {refused}" if refused else "a certificate"
                return await self._answer(name)
        except TimeoutError:
            raise SignerError(
                f"signer {self._signer_name} has not answered in {self._patience:g} s: we wait for {waiting}"
            ) from None
        except ApiError as error:
            raise SignerError(f"signer {self._signer_name} cannot be asked: {error}") from error
        finally:
            await asyncio.shield(self._delete(name))

    async def _create(self, name: str, csr_pem: bytes, lifetime: timedelta) -> dict[str, Any]:
        return await self._cluster.create(
            REQUESTS,
            {
                "apiVersion": REQUESTS.api_version,
                "kind": REQUESTS.kind,
                "metadata": {"name": name, "annotations": {_BY: self._replica}},
                "spec": {
                    "request": base64.b64encode(csr_pem).decode(),
                    "signerName": self._signer_name,
                    "usages": list(_USAGES),
                    "expirationSeconds": int(lifetime.total_seconds()),
                },
            },
        )

    async def _approve(self, request: dict[str, Any]) -> str:
        """Approve a request unless somebody has decided already; why we may not, else nothing."""
        approved = {
            "type": "Approved",
            "status": "True",
            "reason": "WorkloadOfTheMesh",
            "message": "The names are those of a workload that has proved who it is.",
            "lastUpdateTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        while not _conditions(request):
            try:
                await self._cluster.replace(
                    REQUESTS, {**request, "status": {"conditions": [approved]}}, subresource="approval"
                )
            except ApiError as error:
                if error.forbidden:
                    return error.message
                if not error.conflict:
                    raise
            else:
                break
            request = await self._cluster.get(REQUESTS, request["metadata"]["name"])
        return ""

    async def _answer(self, name: str) -> bytes:
        """Wait for the signer. Raises `SignerError` where it is refused, `ApiError` where we may not look."""
        while True:
            try:
                request = await self._cluster.get(REQUESTS, name)
                if (chain := self._certificate(request)) is not None:
                    return chain
                version = request["metadata"]["resourceVersion"]
                query = {"watch": "true", "fieldSelector": f"metadata.name={name}", "resourceVersion": version}
                async with self._cluster.lines(REQUESTS.path(), query=query) as events:
                    async for line in events:
                        event = msgspec.json.decode(line)
                        if event["type"] == "DELETED":
                            raise SignerError(f"the request to signer {self._signer_name} was deleted by another")
                        if event["type"] != "MODIFIED":
                            break
                        if (chain := self._certificate(event["object"])) is not None:
                            return chain
            except ApiError as error:
                if error.not_found:
                    raise SignerError(f"the request to signer {self._signer_name} was deleted by another") from None
                if not error.unavailable:
                    raise
            await asyncio.sleep(_AGAIN)

    def _certificate(self, request: Mapping[str, Any]) -> bytes | None:
        """What the signer has given; None for nothing yet. Raises `SignerError` for a refusal."""
        for condition in _conditions(request):
            if condition["type"] in ("Denied", "Failed"):
                said = ": ".join(part for key in ("reason", "message") if (part := condition.get(key)))
                word = "was denied" if condition["type"] == "Denied" else "failed"
                raise SignerError(f"the request to signer {self._signer_name} {word}: {said or 'nobody says why'}")
        certificate = request.get("status", {}).get("certificate")
        return base64.b64decode(certificate) if certificate else None

    async def _delete(self, name: str) -> None:
        try:
            async with asyncio.timeout(_DELETED_WITHIN):
                await self._cluster.delete(REQUESTS, name)
        except TimeoutError:
            log.warning("request to a signer not deleted", request=name, error="no answer")
        except ApiError as error:
            # The API server forgets requests by itself, after an hour or a day.
            if not error.not_found:
                log.warning("request to a signer not deleted", request=name, error=str(error))


def _conditions(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(request.get("status", {}).get("conditions") or ())
