"""External authorizers: the extension providers of the mesh that policies with the action CUSTOM name."""

from __future__ import annotations

from dataclasses import dataclass

from crds.extensionprovider import EnvoyExtAuthzGrpc, EnvoyExtAuthzHttp
from dragoman.engine import Graph, query
from dragoman.mesh.hosts import service_of_host
from dragoman.mesh.services import service_of
from dragoman.mesh.settings import mesh_config


@dataclass(frozen=True, slots=True)
class Authorizer:
    """Whom to ask: `host` and the provider's `port` are a service port of the mesh."""

    host: str
    provider: EnvoyExtAuthzHttp | EnvoyExtAuthzGrpc


@query
def authorizer(g: Graph, name: str) -> Authorizer | None:
    """The provider called `name`; None where there is none, or its service or port is not known.

    A service is written `host`, or `namespace/host` (Istio: pkg/config/mesh, extension providers).
    """
    provider = next((p.authorizer for p in mesh_config(g).extension_providers if p.name == name), None)
    if provider is None:
        return None
    namespace, _, host = provider.service.rpartition("/")
    found = service_of(g, host)
    if found is None or found.port(provider.port) is None:
        return None
    if namespace and service_of_host(host) != (namespace, found.name):
        return None
    return Authorizer(host, provider)
