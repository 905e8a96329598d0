"""Endpoints of a service port: addresses with what the proxy must know of each.

Sources in order: EndpointSlices, an Endpoints object, and, in a folder of YAML where no controller writes either, the
pods that the Service selects. Istio: pilot/pkg/serviceregistry/kube/controller/endpointslice.go.

A pod of a dual-stack service is one endpoint with two addresses: two would be twice its share of the work. Only those
addresses count at which the service has it: others the application may not listen on.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from crds.kubernetes.endpointslice import Endpoint as SliceEndpoint
from crds.kubernetes.endpointslice import EndpointSlice
from dragoman.engine import Graph, query
from dragoman.mesh.inputs import ENDPOINT_SLICES, ENDPOINTS
from dragoman.mesh.labels import Labels
from dragoman.mesh.policies import MtlsMode, mtls_mode
from dragoman.mesh.services import Port, Service, service, target_port_of
from dragoman.mesh.workloads import Locality, Workload, node_locality, workload, workloads


class Health(enum.StrEnum):
    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"
    DRAINING = "DRAINING"
    """Terminating but still serving: it gets no new work unless nothing else is left."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a service port. `workload` fields are empty for an address that is no known pod."""

    address: str
    port: int
    health: Health
    locality: Locality
    mtls: bool
    """Whether clients speak mutual TLS to it: the pod can, and its policy for this port does not forbid it."""
    labels: Labels = frozenset()
    namespace: str = ""
    workload: str = ""
    canonical_name: str = ""
    canonical_revision: str = ""
    service_account: str = ""
    additional: tuple[str, ...] = ()
    """Other addresses of the same pod, of the other family: where the first does not answer (Envoy: Happy Eyeballs)."""

    @property
    def addresses(self) -> tuple[str, ...]:
        return self.address, *self.additional


@query
def endpoints(g: Graph, namespace: str, name: str, port_name: str) -> tuple[Endpoint, ...]:
    """Endpoints of the port called `port_name` of a service, in order of address."""
    found = service(g, namespace, name)
    if found is None:
        return ()
    port = next((p for p in found.ports if p.name == port_name), None)
    if port is None:
        return ()
    unique = {(endpoint.address, endpoint.port): endpoint for endpoint in _endpoints(g, found, port)}
    return tuple(unique[key] for key in sorted(unique))


def _endpoints(g: Graph, found: Service, port: Port) -> Iterator[Endpoint]:
    slices = ENDPOINT_SLICES(g, (found.namespace, found.name))
    if slices:
        both = _listed(slices) if len({piece.address_type for piece in slices}) > 1 else frozenset()
        for piece in slices:
            if piece.address_type == "FQDN":
                continue
            number = next((p.port for p in piece.ports if (p.name or "") == port.name and p.port), None)
            if number is None:
                continue
            for written in piece.endpoints:
                health = _health(written, found.publish_not_ready)
                pod = _pod(g, written.target_ref, found.namespace)
                locality = _locality(g, written.node_name or "", written.zone or "")
                for address in written.addresses:
                    own = tuple(each for each in pod.addresses if each in both) if both and pod is not None else ()
                    if address in own[1:]:
                        continue  # stands with the first
                    yield _endpoint(g, (address, *own[1:]), number, health, locality, pod)
        return
    listed = ENDPOINTS(g, (found.namespace, found.name))
    if listed is not None:
        for subset in listed.subsets:
            number = next((p.port for p in subset.ports if (p.name or "") == port.name), None)
            if number is None:
                continue
            for addresses, health in (
                (subset.addresses, Health.HEALTHY),
                (subset.not_ready_addresses, Health.HEALTHY if found.publish_not_ready else Health.UNHEALTHY),
            ):
                for written_address in addresses:
                    pod = _pod(g, written_address.target_ref, found.namespace)
                    locality = node_locality(g, written_address.node_name or "")
                    yield _endpoint(g, (written_address.ip,), number, health, locality, pod)
        return
    if found.selector:
        for selected in workloads(g, found.namespace, found.selector):
            number = target_port_of(port, selected.ports)
            own = selected.addresses[:1] if found.families is None else found.families.among(selected.addresses)
            if number is not None and own:
                ready = (selected.ready or found.publish_not_ready) and not selected.terminating
                health = Health.HEALTHY if ready else Health.UNHEALTHY
                yield _endpoint(g, own, number, health, node_locality(g, selected.node), selected)


def _listed(slices: Iterable[EndpointSlice]) -> frozenset[str]:
    """The addresses of a service of both families, where each pod is in a slice of either."""
    return frozenset(address for piece in slices for written in piece.endpoints for address in written.addresses)


def _endpoint(
    g: Graph, addresses: tuple[str, ...], port: int, health: Health, locality: Locality, pod: Workload | None
) -> Endpoint:
    address, *additional = addresses
    if pod is None:
        return Endpoint(address, port, health, locality, mtls=False)
    # Istio: pilot/pkg/xds/endpoints/mtls_checker.go. The label says the pod can, PeerAuthentication whether it does.
    mtls = pod.speaks_mtls and mtls_mode(g, pod.namespace, pod.labels, port) is not MtlsMode.DISABLE
    return Endpoint(
        address,
        port,
        health,
        locality,
        mtls,
        pod.labels,
        pod.namespace,
        pod.name,
        pod.canonical_name,
        pod.canonical_revision,
        pod.service_account,
        tuple(additional),
    )


def _health(written: SliceEndpoint, publish_not_ready: bool) -> Health:
    """Kubernetes: EndpointConditions. An unknown `ready` counts as ready, an unknown `serving` as `ready`."""
    conditions = written.conditions
    if conditions.ready is None or conditions.ready or publish_not_ready:
        return Health.HEALTHY
    if conditions.terminating and conditions.serving:
        return Health.DRAINING
    return Health.UNHEALTHY


def _pod(g: Graph, reference: object, namespace: str) -> Workload | None:
    kind, name = getattr(reference, "kind", None), getattr(reference, "name", None)
    if kind != "Pod" or not name:
        return None
    return workload(g, getattr(reference, "namespace", None) or namespace, name)


def _locality(g: Graph, node: str, zone: str) -> Locality:
    found = node_locality(g, node)
    return found if found.zone or not zone else Locality(found.region, zone, found.subzone)


@query
def all_speak_mtls(g: Graph, namespace: str, name: str, port_name: str) -> bool:
    """Whether a port has endpoints and every one of them speaks mutual TLS.

    What a client must know where it dials endpoints itself and cannot choose for each (Istio:
    pilot/pkg/model/push_context.go, BestEffortInferServiceMTLSMode).
    """
    found = endpoints(g, namespace, name, port_name)
    return bool(found) and all(endpoint.mtls for endpoint in found)


@query
def service_accounts(g: Graph, namespace: str, name: str) -> tuple[tuple[str, str], ...]:
    """`(namespace, service account)` of every workload behind a service: who may answer for it.

    Clusters read this and never the endpoints themselves, or every new pod would warm a cluster anew.
    """
    found = service(g, namespace, name)
    if found is None:
        return ()
    accounts = {
        (endpoint.namespace, endpoint.service_account)
        for port in found.ports
        for endpoint in endpoints(g, namespace, name, port.name)
        if endpoint.service_account
    }
    return tuple(sorted(accounts))
