"""A control plane's webhooks in a real cluster: the chart's configurations, a Service that leads here, the server."""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from ca.authority import new_root
from ca.workload_certificates import WorkloadCertificates
from dragoman.admission import AdmissionRequest, AdmissionServer, Verdict
from dragoman.charts import Chart, Release
from dragoman.kube import ApiResource, Cluster
from dragoman.kube.resources import (
    MUTATING_WEBHOOK_CONFIGURATIONS,
    SERVICES,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
)
from dragoman.operator.ca_bundles import CaBundles, PatchMetrics
from dragoman.operator.webhook_proof import VIRTUAL_SERVICES
from dragoman.runtime.identities import Identities
from dragoman.runtime.serving_certificate import ServingCertificate
from tests.support.free_ports import own_loopback

CHART = Path(__file__).parents[2] / "deploy/charts/control-plane"
LABEL = {"op": "add", "path": "/metadata/labels/injected", "value": "yes"}
Inject = Callable[[AdmissionRequest, Mapping[str, str]], Awaitable[Verdict]]


async def labelling(request: AdmissionRequest, about: Mapping[str, str]) -> Verdict:
    """An injector that leaves a trace."""
    return Verdict(patch=(LABEL,))


def new_identities() -> Identities:
    """Those of a new root."""
    certificates = WorkloadCertificates(
        new_root("cluster.local", now=datetime.now(UTC)),
        lambda: datetime.now(UTC),
        random.Random(1),  # noqa: S311
    )
    return Identities(certificates)


class Installed:
    """`injector` and `validator` are what the chart has installed, in a namespace and for a revision of its own."""

    def __init__(self, cluster: Cluster, namespace: str, inject: Inject = labelling) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.revision = f"rev-{secrets.token_hex(4)}"
        self.identities = new_identities()
        self.registry = CollectorRegistry()
        self.name = f"istiod-{self.revision}.{namespace}.svc"
        certificate = ServingCertificate(
            lambda: self.identities.authority,
            lambda: self.identities.roots,
            dns_names=(self.name,),
            protocols=("http/1.1",),
        )
        self.server = AdmissionServer(certificate.context, inject, self.registry)
        self.address, self.port = own_loopback(), 15017
        values = {"revision": self.revision}
        documents = [each.document for each in Chart(CHART).render(values, Release("istiod", namespace))]
        self.rights = [each for each in documents if each["apiVersion"].startswith("rbac.")]
        """The chart's roles and their bindings."""
        self.user = f"system:serviceaccount:{namespace}:istiod-{self.revision}"
        """Who has them."""
        (self.injector,) = (each for each in documents if each["kind"] == "MutatingWebhookConfiguration")
        (self.validator,) = (each for each in documents if each["kind"] == "ValidatingWebhookConfiguration")

    async def install(self) -> None:
        """Put the chart's documents into the cluster. They lead to this machine without anything that routes."""
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": f"istiod-{self.revision}", "namespace": self.namespace},
            "spec": {"type": "ExternalName", "externalName": self.address},
        }
        await self.cluster.apply(SERVICES, service)
        for document in self.rights:
            await self.cluster.apply(_resource(document), document)
        for document in (self.injector, self.validator):
            for webhook in document["webhooks"]:
                webhook["clientConfig"]["service"]["port"] = self.port
                # A webhook of one test must not be asked about objects of another, which it may not outlive.
                webhook.setdefault("namespaceSelector", {}).setdefault("matchExpressions", []).append(
                    {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [self.namespace]}
                )
        await self.cluster.create(MUTATING_WEBHOOK_CONFIGURATIONS, self.injector)
        await self.cluster.create(VALIDATING_WEBHOOK_CONFIGURATIONS, self.validator)

    async def uninstall(self) -> None:
        """Take away what belongs to no namespace."""
        for document in self.rights:
            if "namespace" not in document["metadata"]:
                await self.cluster.delete(_resource(document), document["metadata"]["name"])
        await self.cluster.delete(MUTATING_WEBHOOK_CONFIGURATIONS, self.injector["metadata"]["name"])
        await self.cluster.delete(VALIDATING_WEBHOOK_CONFIGURATIONS, self.validator["metadata"]["name"])

    async def webhooks(self, resource: ApiResource) -> list[dict[str, Any]]:
        """Those of a configuration as they are now."""
        document = self.injector if resource is MUTATING_WEBHOOK_CONFIGURATIONS else self.validator
        found: list[dict[str, Any]] = (await self.cluster.get(resource, document["metadata"]["name"]))["webhooks"]
        return found

    @asynccontextmanager
    async def keeping_bundles(self) -> AsyncIterator[None]:
        """With the controller at work."""
        metrics = PatchMetrics(CollectorRegistry())
        bundles = CaBundles(self.cluster, self.identities, self.namespace, self.revision, metrics)
        task = asyncio.create_task(bundles.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """With the server at its address, which is the same every time."""
        await self.server.start(self.address, self.port)
        try:
            yield
        finally:
            await self.server.stop()

    def virtual_service(self, name: str, regex: str = "/a.*") -> dict[str, Any]:
        """One of our revision."""
        match = {"uri": {"regex": regex}}
        return {
            "apiVersion": VIRTUAL_SERVICES.api_version,
            "kind": VIRTUAL_SERVICES.kind,
            "metadata": {"name": name, "namespace": self.namespace, "labels": {"istio.io/rev": self.revision}},
            "spec": {
                "hosts": [f"{name}.example"],
                "http": [{"match": [match], "route": [{"destination": {"host": "web"}}]}],
            },
        }

    def pod(self, name: str, **labels: str) -> dict[str, Any]:
        """One that asks for our revision."""
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": self.namespace,
                "labels": {"app": name, "istio.io/rev": self.revision} | labels,
            },
            "spec": {"containers": [{"name": "app", "image": "app"}]},
        }


def _resource(document: dict[str, Any]) -> ApiResource:
    """Of a role or binding."""
    group, _, version = document["apiVersion"].partition("/")
    kind = document["kind"]
    return ApiResource(group, version, f"{kind.lower()}s", kind, namespaced=not kind.startswith("Cluster"))
