"""What holds for requests to a pod, and for its proxy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from crds.authorizationpolicy import Action, AuthorizationPolicy
from crds.meta import ObjectKey
from dragoman.debug.descriptions.objects import Described
from dragoman.debug.descriptions.services import describe_service
from dragoman.debug.plane import without_empty
from dragoman.debug.streams import because
from dragoman.engine import Graph
from dragoman.mesh.authorizers import unaskable
from dragoman.mesh.gateways import gateways_of, listen_ports
from dragoman.mesh.inbound import InboundPort, inbound_ports
from dragoman.mesh.inputs import SERVICE_NAMES
from dragoman.mesh.labels import Labels, projected
from dragoman.mesh.policies import (
    MtlsMode,
    authorization_policies,
    mtls_mode,
    policy_label_keys,
    port_mtls_modes,
    workload_mtls_mode,
)
from dragoman.mesh.protocol import Protocol
from dragoman.mesh.proxies import sidecar_of
from dragoman.mesh.proxy_id import ProxyType
from dragoman.mesh.request_authentications import jwt_rules
from dragoman.mesh.services import service
from dragoman.mesh.workloads import Workload, workload
from dragoman.runtime.sessions import ProxySession
from translators.authorization import InForce, in_force


def describe_pod(
    described: Described, namespace: str, name: str, session: ProxySession | None
) -> dict[str, Any] | None:
    """A pod, with the session of its proxy if one is connected here; None where there is no such pod with an address.

    Policies are those in force at its proxy, its services as clients of its own namespace see them.
    """
    g = described.graph
    found = workload(g, namespace, name)
    if found is None:
        return None
    seen = projected(found.labels, policy_label_keys(g, namespace))
    is_gateway = session is not None and session.proxy.type is ProxyType.ROUTER
    ports = () if is_gateway else inbound_ports(g, namespace, seen, found.ports)
    selecting = _services(g, found)
    sidecar = None if is_gateway else sidecar_of(g, namespace, seen)
    return without_empty(
        {
            "pod": f"{name}.{namespace}",
            "workload": found.name,
            "serviceAccount": found.service_account,
            "node": found.node,
            "addresses": list(found.addresses),
            "ready": found.ready,
            "revision": found.label("istio.io/rev"),
            "proxy": _proxy(session),
            "ports": [_port(g, found, port) for port in ports],
            "mutualTLS": without_empty(
                {
                    "mode": workload_mtls_mode(g, namespace, seen).value,
                    "ports": {str(port): mode.value for port, mode in port_mtls_modes(g, namespace, seen)},
                    "from": _peer_authentications(described, namespace, seen),
                }
            ),
            "authorization": _authorization(described, namespace, seen),
            "requestAuthentications": [
                {"issuer": rule.issuer, "audiences": list(rule.audiences)} for rule in jwt_rules(g, namespace, seen)
            ],
            "tokensFrom": described.origins(jwt_rules.call(namespace, seen), "RequestAuthentication"),
            "sidecar": None if sidecar is None else described.name(sidecar.key),
            "gateways": _gateways(described, found) if is_gateway else [],
            "services": [
                without_empty(entry | {"matchingSubsets": _matching(entry, found.labels)})
                for each in selecting
                if (entry := describe_service(described, namespace, each, namespace)) is not None
            ],
            "warnings": [*_warnings(g, found, session, selecting, ports)],
            "problems": described.problems((ObjectKey("Pod", namespace, name),)),
        }
    )


def _services(g: Graph, found: Workload) -> list[str]:
    """The names of the services that select a pod."""
    candidates = ((name, service(g, found.namespace, name)) for name in SERVICE_NAMES(g, found.namespace))
    return [
        name
        for name, candidate in candidates
        if candidate is not None and candidate.selector and candidate.selector <= found.labels
    ]


def _proxy(session: ProxySession | None) -> dict[str, Any] | None:
    if session is None:
        return None
    held_back = [
        f"{wanted[1]}: {because(blocked)}" for view in session.views for wanted, blocked in view.blocked().items()
    ]
    return without_empty(
        {
            "type": str(session.proxy.type),
            "identity": str(session.identity) if session.identity is not None else "",
            "heldBack": held_back,
        }
    )


def _port(g: Graph, found: Workload, port: InboundPort) -> dict[str, Any]:
    return {
        "port": port.number,
        "protocol": str(port.protocol),
        "service": f"{port.service}.{port.namespace}",
        "servicePort": port.service_port,
        "mutualTLS": mtls_mode(g, found.namespace, found.labels, port.number).value,
    }


def _peer_authentications(described: Described, namespace: str, seen: Labels) -> list[dict[str, Any]]:
    calls = (workload_mtls_mode.call(namespace, seen), port_mtls_modes.call(namespace, seen))
    named = {each["object"]: each for call in calls for each in described.origins(call, "PeerAuthentication")}
    return list(named.values())


def _authorization(described: Described, namespace: str, seen: Labels) -> list[dict[str, Any]]:
    """Policies in the order in which they decide, with what each does at this pod."""
    held: InForce = in_force(described.graph, namespace, seen)
    written = {policy.key: policy for policy in authorization_policies(described.graph, namespace, seen)}
    found = []
    for action, keys in (
        ("CUSTOM", held.ask),
        ("AUDIT", held.audit),
        ("DENY", held.deny),
        ("DENY (dry run)", held.noted_deny),
        ("ALLOW", held.allow),
        ("ALLOW (dry run)", held.noted_allow),
    ):
        found += [
            described.name(key) | {"action": action, "rules": len(written[key].spec.rules)}
            for key in keys
            if key in written
        ]
    return found


def _gateways(described: Described, found: Workload) -> list[dict[str, Any]]:
    g = described.graph
    return [
        described.name(gateway.key)
        | {
            "servers": [
                {"port": server.port.number, "protocol": server.port.protocol, "hosts": list(server.hosts)}
                for server in gateway.spec.servers
            ],
            "ports": dict(listen_ports(g, found.namespace, found.labels, found.ports)),
        }
        for gateway in gateways_of(g, found.labels)
    ]


def _matching(entry: dict[str, Any], labels: Labels) -> list[str]:
    return [each["name"] for each in entry.get("subsets", ()) if frozenset(each["labels"].items()) <= labels]


def _warnings(
    g: Graph,
    found: Workload,
    session: ProxySession | None,
    selecting: list[str],
    ports: tuple[InboundPort, ...],
) -> Iterator[str]:
    if session is None and found.speaks_mtls:
        yield "its proxy is not connected to this control plane"
    if session is None and not found.speaks_mtls:
        yield "it has no proxy: no policy holds for it, and clients reach it in plaintext"
        if workload_mtls_mode(g, found.namespace, found.labels) is MtlsMode.STRICT:
            yield "mutual TLS is STRICT, which without a proxy nobody enforces"
    if not selecting and not (session is not None and session.proxy.type is ProxyType.ROUTER):
        yield "no service selects it: the mesh knows none of its ports"
    for label, other in (("app", "app.kubernetes.io/name"), ("version", "app.kubernetes.io/version")):
        if not found.label(label) and not found.label(other):
            yield f"it has no label {label}, by which telemetry tells workloads apart"
    seen = projected(found.labels, policy_label_keys(g, found.namespace))
    policies = authorization_policies(g, found.namespace, seen)
    yield from _unasked(g, policies, in_force(g, found.namespace, seen))
    opaque = [port.number for port in ports if port.protocol in (Protocol.TCP, Protocol.TLS, Protocol.HTTPS)]
    if policies and opaque:
        yield (
            f"on ports {', '.join(map(str, opaque))} connections are passed on: what policies say of requests there "
            "denies (DENY) or matches nothing (ALLOW)"
        )


def _unasked(g: Graph, policies: tuple[AuthorizationPolicy, ...], held: InForce) -> Iterator[str]:
    """Why policies that ask an external authorizer deny instead."""
    asking = [policy for policy in policies if policy.spec.action is Action.CUSTOM and not policy.dry_run]
    if held.ask or not asking:
        return
    told = [f"{policy.key}: {problem.message}" for policy in asking if (problem := unaskable(g, policy)) is not None]
    names = sorted({policy.spec.provider.name or "" for policy in asking if policy.spec.provider is not None})
    if len(names) > 1:
        told.append(
            f"its policies name several external authorizers ({', '.join(names)}): none is asked, and what their rules "
            "match is denied"
        )
    yield from told
