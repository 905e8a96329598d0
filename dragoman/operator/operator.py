"""What a control plane does beside serving proxies when it runs in a cluster: one task for each duty."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from crds.meshconfig import CONFIG_MAP
from dragoman.admission import AdmissionRequest, AdmissionServer, Verdict, injection
from dragoman.kube import Cluster
from dragoman.operator.balance import Balance
from dragoman.operator.ca_bundles import CaBundles, PatchMetrics
from dragoman.operator.cluster_trust_bundle import PublishedTrustBundle
from dragoman.operator.election import LEASE, Election
from dragoman.operator.events import Events
from dragoman.operator.ingress_events import IngressEvents
from dragoman.operator.ingress_status import IngressStatus
from dragoman.operator.injector import DEFAULT_REVISION, Injector
from dragoman.operator.metrics import OperatorMetrics
from dragoman.operator.replicas import Replicas
from dragoman.operator.root_certificates import RootCertificates
from dragoman.operator.status_writer import StatusWriter
from dragoman.runtime import ControlPlane
from dragoman.runtime.serving_certificate import ServingCertificate


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """Which control plane of the cluster this is, and which of its replicas."""

    namespace: str
    """Where the control plane runs and keeps what is its own."""
    replica: str
    """This process, by a name that no other has: the holder of Leases."""
    revision: str = "default"
    mesh_settings: tuple[str, str] = CONFIG_MAP
    """Namespace and name of the ConfigMap with the mesh's settings."""

    @property
    def webhook_names(self) -> tuple[str, ...]:
        """As whom the API server calls the webhooks: the Service of the charts (Istio: getDNSNames)."""
        suffix = "" if self.revision == DEFAULT_REVISION else f"-{self.revision}"
        service = f"istiod{suffix}.{self.namespace}.svc"
        return service, f"{service}.cluster.local", "localhost"


class Operator:
    """The duties of a control plane towards the cluster that it serves.

    Each task sees to its own failures: an API server that is away, or that forbids something, ends none of them.
    """

    def __init__(self, cluster: Cluster, plane: ControlPlane, settings: OperatorSettings) -> None:
        self.cluster = cluster
        self.plane = plane
        self.settings = settings
        self.injector = Injector(cluster, plane.graph, settings.namespace, settings.revision)
        certificate = ServingCertificate(
            lambda: plane.authority,
            lambda: plane.identities.roots,
            dns_names=settings.webhook_names,
            protocols=("http/1.1",),
        )
        self.webhooks = AdmissionServer(certificate.context, self._inject, plane.registry)
        """To be told where to listen."""
        self.election = Election(cluster, settings.namespace, settings.replica)
        """Decides which replica does what only one may do."""
        self.replicas = Replicas(cluster, plane, settings.namespace, settings.replica, settings.revision)
        events = Events(cluster, settings.replica)
        statuses = StatusWriter(cluster, plane, self.replicas, events)
        ingresses = IngressStatus(cluster, plane, settings.namespace)
        ingress_events = IngressEvents(plane, self.replicas, events)
        for duty in (statuses.run, events.run, self.replicas.bury, ingresses.run, ingress_events.run):
            self.election.add(duty)
        for duty in (self._spread_roots, self._publish_roots):
            self.election.add(duty)
        # Objects of one revision are seen by its own replicas only.
        lease = f"{LEASE}-status-{settings.revision}"
        self._of_revision = Election(cluster, settings.namespace, settings.replica, lease=lease)
        events_of_revision = Events(cluster, settings.replica)
        statuses_of_revision = StatusWriter(cluster, plane, self.replicas, events_of_revision, labelled=True)
        for duty in (statuses_of_revision.run, events_of_revision.run):
            self._of_revision.add(duty)
        plane.registry.register(OperatorMetrics(self.election, self.replicas, (statuses, statuses_of_revision)))
        self._patch_metrics = PatchMetrics(plane.registry)
        # Webhooks belong to a revision, and only its own replicas may write them.
        lease = f"{LEASE}-webhooks-{settings.revision}"
        self._of_webhooks = Election(cluster, settings.namespace, settings.replica, lease=lease)
        self._of_webhooks.add(self._keep_bundles)

    async def run(self) -> None:
        """Do everything until cancelled; begins when the control plane has loaded."""
        async with asyncio.TaskGroup() as tasks:
            for duty in self._duties():
                tasks.create_task(duty)

    def _duties(self) -> Iterator[Coroutine[Any, Any, None]]:
        yield self.election.run()
        yield self._of_revision.run()
        yield self._of_webhooks.run()
        yield self.replicas.run()
        yield Balance(self.replicas, self.plane.server).run()
        yield self.injector.run()

    def _spread_roots(self) -> Coroutine[Any, Any, None]:
        return RootCertificates(self.cluster, self.plane.identities, self.settings.mesh_settings).run()

    def _publish_roots(self) -> Coroutine[Any, Any, None]:
        return PublishedTrustBundle(self.cluster, self.plane.identities).run()

    def _keep_bundles(self) -> Coroutine[Any, Any, None]:
        settings = self.settings
        return CaBundles(
            self.cluster, self.plane.identities, settings.namespace, settings.revision, self._patch_metrics
        ).run()

    async def _inject(self, request: AdmissionRequest, about: Mapping[str, str]) -> Verdict:
        return await injection(request, about, self.injector.settings)
