"""Pages about what the mesh knows: objects, services, endpoints.

Shapes are Istio's (Istio: pilot/pkg/xds/debug.go; pilot/pkg/model/service.go).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from aiohttp import web

from crds.hooks import encode_hook
from crds.meta import IstioObject
from dragoman.debug.plane import long_page, plane_of, without_empty
from dragoman.engine import Graph, QueryFailed
from dragoman.mesh.endpoints import Endpoint, endpoints
from dragoman.mesh.inputs import SERVICE_NAMES, SERVICE_NAMESPACES, SERVICES
from dragoman.mesh.services import Port, Service, service

routes = web.RouteTableDef()


@routes.get("/debug/configz")
async def configz(request: web.Request) -> web.Response:
    """The objects of Istio's API in force, as Kubernetes has them; only those of the parameters `kind`, `namespace`."""
    objects = plane_of(request).world.objects
    asked = {name: request.query[name] for name in ("kind", "namespace") if name in request.query}
    keys = sorted(key for key in objects if all(getattr(key, name) == value for name, value in asked.items()))
    found = [objects[key] for key in keys]
    return await long_page(_written(each) for each in found if isinstance(each, IstioObject))


@routes.get("/debug/registryz")
async def registryz(request: web.Request) -> web.Response:
    """The services."""
    graph = plane_of(request).graph
    return await long_page(_service(graph, found) for found in _services(graph))


@routes.get("/debug/endpointz")
async def endpointz(request: web.Request) -> web.Response:
    """The endpoints of every port of every service."""
    graph = plane_of(request).graph
    return await long_page(
        {
            "svc": f"{found.host}:{port.name or port.number}",
            "ep": [
                {"servicePort": _port(port), "endpoint": _endpoint(endpoint, port)}
                for endpoint in _endpoints(graph, found, port)
            ],
        }
        for found in _services(graph)
        for port in found.ports
    )


def _written(obj: IstioObject) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(obj, enc_hook=encode_hook, str_keys=True)
    return {"apiVersion": obj.resource.api_version(), "kind": obj.kind, **document}


def _services(graph: Graph) -> Iterator[Service]:
    for namespace in SERVICE_NAMESPACES(graph, None):
        for name in SERVICE_NAMES(graph, namespace):
            found = _of(graph, namespace, name)
            if found is not None:
                yield found


def _of(graph: Graph, namespace: str, name: str) -> Service | None:
    try:
        return service(graph, namespace, name)
    except QueryFailed:
        return None


def _endpoints(graph: Graph, of: Service, port: Port) -> tuple[Endpoint, ...]:
    try:
        return endpoints(graph, of.namespace, of.name, port.name)
    except QueryFailed:
        return ()


def _service(graph: Graph, found: Service) -> dict[str, Any]:
    written = SERVICES(graph, (found.namespace, found.name))
    attributes = {
        "ServiceRegistry": "Kubernetes",
        "Name": found.name,
        "Namespace": found.namespace,
        "Labels": dict(sorted((written.metadata.labels or {}).items())) if written is not None else {},
        "ExportTo": {namespace: {} for namespace in sorted(found.exported)},
        "LabelSelectors": dict(sorted(found.selector)),
    }
    return without_empty(
        {
            "Attributes": without_empty(attributes),
            "ports": [_port(port) for port in found.ports],
            "hostname": found.host,
            "clusterVIPs": {"Addresses": {"Kubernetes": list(found.addresses)}} if found.addresses else {},
            "defaultAddress": found.addresses[0] if found.addresses else "0.0.0.0",  # noqa: S104 - Istio's "no address"
            "aliasOf": found.alias_of or "",
        }
    )


def _port(port: Port) -> dict[str, Any]:
    return without_empty({"name": port.name, "port": port.number, "protocol": str(port.protocol)})


def _endpoint(endpoint: Endpoint, port: Port) -> dict[str, Any]:
    place = endpoint.locality
    return without_empty(
        {
            "Addresses": list(endpoint.addresses),
            "EndpointPort": endpoint.port,
            "ServicePortName": port.name,
            "ServiceAccount": endpoint.service_account,
            "Namespace": endpoint.namespace,
            "WorkloadName": endpoint.workload,
            "Labels": dict(sorted(endpoint.labels)),
            "Locality": {"Label": "/".join(part for part in (place.region, place.zone, place.subzone) if part)},
            "TLSMode": "istio" if endpoint.mtls else "disabled",
            "HealthStatus": str(endpoint.health),
        }
    )
