"""External authorizers: the extension providers of the mesh that policies with the action CUSTOM name."""

from __future__ import annotations

from dataclasses import dataclass

from crds.authorizationpolicy import AuthorizationPolicy
from crds.extensionprovider import EnvoyExtAuthzGrpc, EnvoyExtAuthzHttp
from crds.problem import Problem
from crds.validate import extensionproviders
from dragoman.engine import Graph, query
from dragoman.mesh.protocol import Protocol
from dragoman.mesh.services import Service, service_of
from dragoman.mesh.settings import mesh_config


@dataclass(frozen=True, slots=True)
class Authorizer:
    """Whom to ask: `host` and the provider's `port` are a service port of the mesh."""

    host: str
    provider: EnvoyExtAuthzHttp | EnvoyExtAuthzGrpc


@query
def authorizer(g: Graph, name: str) -> Authorizer | None:
    """The provider called `name`; None where there is none, or its service or port is not known."""
    provider = next((p.authorizer for p in mesh_config(g).extension_providers if p.name == name), None)
    found = _service(g, provider) if provider is not None else None
    return Authorizer(found.host, provider) if found is not None and provider is not None else None


@query
def asked_services(g: Graph) -> tuple[tuple[str, str], ...]:
    """Namespace and name of every service that a provider names, which any proxy may have to ask."""
    listed = (p.authorizer for p in mesh_config(g).extension_providers)
    found = (_service(g, provider) for provider in listed if provider is not None)
    return tuple(dict.fromkeys((service.namespace, service.name) for service in found if service is not None))


@query
def obstacles(g: Graph) -> dict[str, str]:
    """Why none of the mesh's providers could be asked, by name; empty for those that can be."""
    providers = mesh_config(g).extension_providers
    found = extensionproviders.obstacles(providers)
    for name in [name for name, why in found.items() if not why and authorizer(g, name) is None]:
        asked = next(provider.authorizer for provider in providers if provider.name == name)
        if asked is not None:
            found[name] = (
                f"extensionProvider {name!r} is at {asked.service!r}, TCP port {asked.port}, unknown to the mesh"
            )
    return found


def unaskable(g: Graph, policy: AuthorizationPolicy) -> Problem | None:
    """That nobody can be asked for a policy with CUSTOM, which denies then."""
    return extensionproviders.unaskable(policy, obstacles(g))


def _service(g: Graph, provider: EnvoyExtAuthzHttp | EnvoyExtAuthzGrpc) -> Service | None:
    """A service is written `host`, or `namespace/host` (Istio: pkg/config/mesh, extension providers)."""
    namespace, _, host = provider.service.rpartition("/")
    found = service_of(g, host)
    if found is None or found.alias_of is not None or namespace not in ("", found.namespace):
        return None
    port = found.port(provider.port)
    return found if port is not None and port.protocol is not Protocol.UDP else None
