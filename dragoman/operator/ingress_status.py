"""Where Ingresses are reached, in their status: the leader's duty (Istio: pilot/pkg/config/kube/ingress/status.go).

The addresses are those of the Service that `ingressService` of the mesh's settings names, in the control plane's
namespace; without one, the external addresses of the nodes on which the gateway's pods run.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from crds.kubernetes import Ingress, IngressClass, Node, Pod, Service
from crds.meshconfig import MeshConfig
from crds.meta import ObjectKey
from dragoman.kube import ApiError, Cluster
from dragoman.kube.resources import INGRESSES
from dragoman.mesh.ingress import gateway_selector, is_ours
from dragoman.mesh.settings import mesh_config
from dragoman.operator.watched import Watched
from dragoman.operator.work_queue import WorkQueue
from dragoman.runtime import ControlPlane
from dragoman.sources.kubernetes.reflector import Name

FIELD_MANAGER: Final = "dragoman-ingress"
LOOK_EVERY: Final = 2.0
"""Seconds: addresses come from several kinds of objects, and change with load balancers."""

Addresses = tuple[str, ...]
Objects = Mapping[ObjectKey, Any]


def addresses(objects: Objects, mesh: MeshConfig, namespace: str) -> Addresses:
    """Where the mesh's Ingresses are reached, in order."""
    if mesh.ingress_service:
        service = objects.get(ObjectKey("Service", namespace, mesh.ingress_service))
        return tuple(sorted(set(_of_service(service)))) if isinstance(service, Service) else ()
    selected = gateway_selector(mesh).items()
    nodes = {
        pod.spec.node_name
        for pod in objects.values()
        if isinstance(pod, Pod) and pod.namespace == namespace and selected <= pod.metadata.labels.items()
    }
    return tuple(sorted(set(_of_nodes(objects, (name for name in nodes if name)))))


def _of_service(service: Service) -> Iterator[str]:
    if service.spec.type == "ExternalName":
        yield service.spec.external_name
        return
    for entry in service.status.load_balancer.ingress:
        yield entry.ip or entry.hostname
    yield from service.spec.external_ips


def _of_nodes(objects: Objects, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        node = objects.get(ObjectKey("Node", "", name))
        if isinstance(node, Node):
            yield from (each.address for each in node.status.addresses if each.type == "ExternalIP")


def entries(found: Addresses) -> list[dict[str, str]]:
    """As `status.loadBalancer.ingress` has them: IP addresses and host names."""
    return [{"ip" if _is_ip(address) else "hostname": address} for address in found]


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class IngressStatus:
    """Keeps the addresses on the Ingresses of our class. `namespace` is that of the control plane."""

    def __init__(self, cluster: Cluster, plane: ControlPlane, namespace: str) -> None:
        self._cluster = cluster
        self._plane = plane
        self._namespace = namespace

    async def run(self) -> None:
        """Do it until cancelled."""
        self._queue: WorkQueue[Name] = WorkQueue(self._put_right)
        self._stored = Watched(INGRESSES, self._queue.add, read=_stored)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._stored.run(self._cluster))
            tasks.create_task(self._queue.run())
            tasks.create_task(self._follow())

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            wanted = self._wanted()
            for name in self._stored:
                if self._stored.get(name) != wanted:
                    self._queue.add(name)

    def _wanted(self) -> list[dict[str, str]]:
        return entries(addresses(self._plane.world.objects, mesh_config(self._plane.graph), self._namespace))

    async def _put_right(self, name: Name) -> None:
        objects, mesh = self._plane.world.objects, mesh_config(self._plane.graph)
        ingress = objects.get(ObjectKey("Ingress", *name))
        wanted, stored = self._wanted(), self._stored.get(name)
        if stored is None or stored == wanted or not isinstance(ingress, Ingress):
            return
        of = ObjectKey("IngressClass", "", ingress.spec.ingress_class_name or "")
        found = objects.get(of)
        if not is_ours(ingress, {of.name: found} if isinstance(found, IngressClass) else {}, mesh):
            return
        document = {
            "apiVersion": INGRESSES.api_version,
            "kind": INGRESSES.kind,
            "metadata": {"name": ingress.name, "namespace": ingress.namespace, "uid": ingress.metadata.uid},
            "status": {"loadBalancer": {"ingress": wanted}},
        }
        try:
            await self._cluster.apply(INGRESSES, document, field_manager=FIELD_MANAGER, subresource="status")
        except ApiError as error:
            if not error.not_found:
                raise


def _stored(document: dict[str, Any]) -> list[dict[str, str]]:
    listed = (document.get("status") or {}).get("loadBalancer", {}).get("ingress") or ()
    return [{key: entry[key] for key in ("ip", "hostname") if entry.get(key)} for entry in listed]
