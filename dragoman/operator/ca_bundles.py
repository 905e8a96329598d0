"""By which roots the API server knows this control plane's webhooks (Istio: pkg/webhooks, webhookpatch.go, and
pkg/webhooks/validation/controller).

The `caBundle` of each webhook of our revision and its tags is kept as the trust bundle is: after a rotation, an edit by
others, or the next `helm upgrade`. A validating webhook that fails open (`failurePolicy: Ignore`), as it is installed,
comes to fail closed once the API server has been seen to refuse something because of it.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import structlog
from prometheus_client import CollectorRegistry, Counter

from dragoman.kube import ApiError, ApiResource, Cluster
from dragoman.kube.resources import MUTATING_WEBHOOK_CONFIGURATIONS, VALIDATING_WEBHOOK_CONFIGURATIONS
from dragoman.operator.watched import Watched
from dragoman.operator.webhook_proof import refused_by
from dragoman.operator.work_queue import TryAgainError, WorkQueue
from dragoman.runtime.identities import Identities
from dragoman.sources.kubernetes.reflector import Name

log = structlog.get_logger(__name__)

FIELD_MANAGER: Final = "dragoman-ca-bundle"
REVISION: Final = "istio.io/rev"
"""The label of configurations; those of a tag name the revision that it stands for."""

_SUFFIXES: Final = {
    MUTATING_WEBHOOK_CONFIGURATIONS: "sidecar-injector.istio.io",
    VALIDATING_WEBHOOK_CONFIGURATIONS: "validation.istio.io",
}
"""What names of our webhooks end with; others may stand in the same configuration."""


class Webhook(NamedTuple):
    """One webhook as the API server has it."""

    name: str
    ca_bundle: str
    """Base64 of PEM, as JSON has bytes."""
    failure_policy: str


class _Key(NamedTuple):
    resource: ApiResource
    name: str

    def __str__(self) -> str:
        return f"{self.resource.kind} {self.name}"


def webhooks_of(
    document: Mapping[str, Any], resource: ApiResource, revision: str, namespace: str
) -> tuple[Webhook, ...]:
    """Our webhooks in a configuration: those of this revision that call a Service of this namespace, or a URL."""
    labels = document["metadata"].get("labels") or {}
    if labels.get(REVISION) != revision:
        return ()
    return tuple(
        Webhook(each["name"], each["clientConfig"].get("caBundle") or "", each.get("failurePolicy") or "Fail")
        for each in document.get("webhooks") or ()
        if each["name"].endswith(_SUFFIXES[resource])
        and (each["clientConfig"].get("service") or {}).get("namespace", namespace) == namespace
    )


def correction(webhooks: Sequence[Webhook], ca_bundle: str, *, closed: bool) -> list[dict[str, Any]] | None:
    """What to apply so that webhooks have this bundle, and with `closed` fail closed; None if they are right.

    A field that is applied once is applied ever after: one that is left out would go.
    """
    wanted = [
        each._replace(ca_bundle=ca_bundle, failure_policy="Fail" if closed else each.failure_policy)
        for each in webhooks
    ]
    if list(webhooks) == wanted:
        return None
    return [
        {"name": each.name, "clientConfig": {"caBundle": each.ca_bundle}}
        | ({"failurePolicy": "Fail"} if closed else {})
        for each in wanted
    ]


class PatchMetrics:
    """What is counted, under Istio's names (Istio: pkg/webhooks/monitoring.go)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("name",)
        self.attempts = Counter("webhook_patch_attempts", "Webhook configurations written.", labels, registry=registry)
        self.failures = Counter("webhook_patch_failures", "Writes of them that failed.", labels, registry=registry)


class CaBundles:
    """Keeps the webhooks of `revision`, whose Service is in `namespace`, as `identities` say.

    For one replica at a time: amid a rotation, two that have not heard of the same step yet would undo each other's.
    """

    def __init__(
        self,
        cluster: Cluster,
        identities: Identities,
        namespace: str,
        revision: str,
        metrics: PatchMetrics,
    ) -> None:
        self._cluster = cluster
        self._identities = identities
        self._namespace = namespace
        self._revision = revision
        self._queue: WorkQueue[_Key] = WorkQueue(self._put_right)
        self._watched = {
            resource: Watched(resource, partial(self._changed, resource), read=partial(self._ours, resource))
            for resource in _SUFFIXES
        }
        self._metrics = metrics

    async def run(self) -> None:
        """Do it until cancelled."""
        self._identities.on_roots_changed.append(self._all)
        try:
            async with asyncio.TaskGroup() as tasks:
                for watched in self._watched.values():
                    tasks.create_task(watched.run(self._cluster))
                tasks.create_task(self._queue.run())
        finally:
            self._identities.on_roots_changed.remove(self._all)

    def _ours(self, resource: ApiResource, document: dict[str, Any]) -> tuple[Webhook, ...]:
        return webhooks_of(document, resource, self._revision, self._namespace)

    def _changed(self, resource: ApiResource, name: Name) -> None:
        self._queue.add(_Key(resource, name[1]))

    def _keys(self) -> Iterator[_Key]:
        for resource, watched in self._watched.items():
            for _, name in watched:
                yield _Key(resource, name)

    def _all(self) -> None:
        for key in self._keys():
            self._queue.add(key)

    async def _put_right(self, key: _Key) -> None:
        webhooks: tuple[Webhook, ...] = self._watched[key.resource].get(("", key.name)) or ()
        if not webhooks:
            return
        ca_bundle = base64.b64encode(self._identities.roots_pem).decode()
        validates = key.resource is VALIDATING_WEBHOOK_CONFIGURATIONS
        closed = validates and any(each.failure_policy == "Fail" for each in webhooks)
        await self._write(key, webhooks, ca_bundle, closed=closed)
        if validates and not closed:
            names = [each.name for each in webhooks]
            if not await refused_by(self._cluster, names, self._namespace, self._revision):
                raise TryAgainError("the API server lets pass what the webhook would refuse")
            await self._write(key, webhooks, ca_bundle, closed=True)
            log.info("validation fails closed from now on", configuration=key.name)

    async def _write(self, key: _Key, webhooks: Sequence[Webhook], ca_bundle: str, *, closed: bool) -> None:
        applied = correction(webhooks, ca_bundle, closed=closed)
        if applied is None:
            return
        self._metrics.attempts.labels(key.name).inc()
        document = {
            "apiVersion": key.resource.api_version,
            "kind": key.resource.kind,
            "metadata": {"name": key.name},
            "webhooks": applied,
        }
        try:
            await self._cluster.apply(key.resource, document, field_manager=FIELD_MANAGER)
        except ApiError:
            self._metrics.failures.labels(key.name).inc()
            raise
        log.info("webhooks written", configuration=key.name, webhooks=[each["name"] for each in applied])
