"""Where Ingresses are reached."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from operating import QUICK

from ca.authority import new_root
from crds.decode import decode
from crds.meshconfig import MeshConfig, parse
from dragoman.kube import Cluster
from dragoman.kube.resources import EVENTS, INGRESS_CLASSES, INGRESSES, SERVICES
from dragoman.operator.election import Election
from dragoman.operator.events import Events
from dragoman.operator.ingress_events import IngressEvents
from dragoman.operator.ingress_status import IngressStatus, addresses, entries
from dragoman.operator.replicas import Replicas
from dragoman.runtime import ControlPlane
from dragoman.sources.kubernetes import KubernetesSource
from tests.support.until import until

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "istio-ingressgateway", "namespace": "istio-system"},
    "spec": {"type": "LoadBalancer", "ports": [{"name": "http", "port": 80}], "externalIPs": ["192.0.2.9"]},
    "status": {"loadBalancer": {"ingress": [{"hostname": "lb.example.com"}, {"ip": "192.0.2.1"}]}},
}


def objects(*documents: dict[str, Any]) -> dict[Any, Any]:
    decoded = (decode(document) for document in documents)
    return {obj.key: obj for obj in decoded}


def test_of_a_load_balancer() -> None:
    found = addresses(objects(SERVICE), MeshConfig(), "istio-system")
    assert found == ("192.0.2.1", "192.0.2.9", "lb.example.com")
    assert entries(found) == [{"ip": "192.0.2.1"}, {"ip": "192.0.2.9"}, {"hostname": "lb.example.com"}]
    assert addresses(objects(SERVICE), MeshConfig(), "elsewhere") == ()


def test_of_a_name() -> None:
    spec = {"type": "ExternalName", "externalName": "gateway.example.com"}
    service = {**SERVICE, "spec": spec, "status": {}}
    assert addresses(objects(service), MeshConfig(), "istio-system") == ("gateway.example.com",)


def test_of_the_nodes_of_the_gateways_pods_without_a_service() -> None:
    def documents() -> Iterator[dict[str, Any]]:
        for number in (1, 2):
            listed = [{"type": "InternalIP", "address": f"10.0.0.{number}"}]
            listed.append({"type": "ExternalIP", "address": f"192.0.2.{number}"})
            status = {"addresses": listed}
            yield {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"n{number}"}, "status": status}
        for name, labels, node in (("gateway", {"istio": "edge"}, "n2"), ("other", {"istio": "x"}, "n1")):
            metadata: dict[str, Any] = {"name": name, "namespace": "istio-system", "labels": labels}
            yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": node}}

    mesh = parse("{ingressService: '', ingressSelector: edge}")
    assert addresses(objects(*documents()), mesh, "istio-system") == ("192.0.2.2",)


@pytest.mark.real_api
@pytest.mark.usefixtures("custom_resources")
async def test_on_the_objects(cluster: Cluster, namespace: str) -> None:
    ours = {"metadata": {"name": namespace}, "spec": {"controller": "istio.io/ingress-controller"}}
    theirs = {"metadata": {"name": f"other-{namespace}"}, "spec": {"controller": "example.com/other"}}
    for of in (ours, theirs):
        await cluster.create(INGRESS_CLASSES, {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", **of})
    service = {**SERVICE, "metadata": {"name": "istio-ingressgateway"}}
    await cluster.create(SERVICES, service, namespace)

    async def balance(address: str) -> None:
        status = {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}
        await cluster.patch(SERVICES, "istio-ingressgateway", status, namespace, subresource="status")

    async def stored(name: str) -> list[dict[str, str]]:
        document = await cluster.get(INGRESSES, name, namespace)
        return list(document["status"].get("loadBalancer", {}).get("ingress") or [])

    async def reached_at(*wanted: str) -> None:
        async def so() -> bool:
            return [entry.get("ip") for entry in await stored("web")] == list(wanted)

        await until(so)

    await balance("192.0.2.1")
    async with KubernetesSource(cluster, (namespace, "istio")) as source:
        await source.synced()
        plane = ControlPlane(source, new_root("cluster.local", now=datetime.now(UTC)))
        await plane.load()
        election = Election(cluster, namespace, "one", QUICK)
        events = Events(cluster, "one")
        told = IngressEvents(plane, Replicas(cluster, plane, namespace, "one"), events)
        for duty in (IngressStatus(cluster, plane, namespace).run, told.run, events.run):
            election.add(duty)
        tasks = [asyncio.create_task(duty) for duty in (plane.run(), election.run())]
        try:
            backend = {"service": {"name": "web", "port": {"number": 80}}}
            for name, of in (("web", ours), ("other", theirs)):
                spec = {"ingressClassName": of["metadata"]["name"], "defaultBackend": backend}
                document = {"apiVersion": INGRESSES.api_version, "kind": "Ingress", "metadata": {"name": name}}
                await cluster.create(INGRESSES, {**document, "spec": spec}, namespace)
            await reached_at("192.0.2.1", "192.0.2.9")
            await balance("192.0.2.5")
            await reached_at("192.0.2.5", "192.0.2.9")
            wrong = {"status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}]}}}
            await cluster.patch(INGRESSES, "web", wrong, namespace, subresource="status")
            await reached_at("192.0.2.5", "192.0.2.9")
            assert await stored("other") == []

            async def told_of(name: str) -> list[str]:
                listed = await cluster.list(EVENTS, namespace, field_selector=f"regarding.name={name}")
                return [f"{each['type']} {each['reason']} {each['note']}" for each in listed]

            async def said() -> bool:
                return any(
                    text.startswith("Warning NoEffect DRG0202 spec.defaultBackend: ") for text in await told_of("web")
                )

            await until(said)
            assert await told_of("other") == []
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for of in (ours, theirs):
                await cluster.delete(INGRESS_CLASSES, of["metadata"]["name"])
