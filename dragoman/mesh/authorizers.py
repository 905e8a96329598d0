"""External authorizers: the extension providers of the mesh that policies with the action CUSTOM name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from crds.authorizationpolicy import Action, AuthorizationPolicy
from crds.codes import problem
from crds.extensionprovider import EnvoyExtAuthzGrpc, EnvoyExtAuthzHttp
from crds.problem import Problem
from crds.validate import extensionproviders
from dragoman.engine import Graph, query
from dragoman.mesh.attachment import attachments
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


def asks(policy: AuthorizationPolicy) -> bool:
    """Whether an external authorizer is to be asked; a dry run asks nobody."""
    return policy.spec.action is Action.CUSTOM and not policy.dry_run


def disagreement(
    policy: AuthorizationPolicy, policies: Iterable[AuthorizationPolicy], root_namespace: str
) -> Problem | None:
    """That nobody is asked for a policy with CUSTOM because others name another provider for the same workloads, and
    all of these deny (Istio: pilot/pkg/security/authz/builder/builder.go, getBadCustomDenyRules).

    Policies hold for the same workloads where the labels that one asks for are among those of the other. Others that
    may meet on a pod are a matter of its labels (`dragoman describe` tells of a pod).
    """
    if not asks(policy):
        return None
    others = [
        other
        for other in policies
        if asks(other) and _provider(other) != _provider(policy) and _meet(policy, other, root_namespace)
    ]
    if not others:
        return None
    named = ", ".join(sorted(f"{other.key} names {_provider(other)!r}" for other in others))
    message = (
        f"{named} for the same workloads: of several external authorizers none is asked, and what the rules match is "
        "denied"
    )
    return problem("DRG0414", "spec.provider.name", message, "have all policies of a workload name one provider")


def _provider(policy: AuthorizationPolicy) -> str:
    return policy.spec.provider.name or "" if policy.spec.provider is not None else ""


def _meet(one: AuthorizationPolicy, other: AuthorizationPolicy, root_namespace: str) -> bool:
    """Whether one holds for all workloads that the other holds for, in some namespace."""
    narrow = {one.namespace, other.namespace} - {root_namespace}
    if len(narrow) > 1:
        return False
    namespace = next(iter(narrow), root_namespace)
    return any(
        wanted.items() <= theirs.items() or theirs.items() <= wanted.items()
        for wanted in attachments(one, namespace)
        for theirs in attachments(other, namespace)
    )


def _service(g: Graph, provider: EnvoyExtAuthzHttp | EnvoyExtAuthzGrpc) -> Service | None:
    """A service is written `host`, or `namespace/host` (Istio: pkg/config/mesh, extension providers)."""
    namespace, _, host = provider.service.rpartition("/")
    found = service_of(g, host)
    if found is None or found.alias_of is not None or namespace not in ("", found.namespace):
        return None
    port = found.port(provider.port)
    return found if port is not None and port.protocol is not Protocol.UDP else None
