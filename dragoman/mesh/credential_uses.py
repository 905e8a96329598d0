"""Which credentials a proxy needs, and which fields of which objects say so.

Servers of gateways name theirs in Gateways, clients in DestinationRules: those of gateways, and of sidecars that the
rule selects. A rule for everybody would hand one Secret to every workload of a namespace, so it gives none (Istio:
pilot/pkg/networking/core/cluster_tls.go).
"""

from __future__ import annotations

from typing import NamedTuple

from crds.destinationrule import DestinationRule
from dragoman.engine import Graph, consult, query
from dragoman.mesh.credentials import CredentialUse, may_hold, names_of_server, uses_of
from dragoman.mesh.gateways import gateways_of, servers_of
from dragoman.mesh.inputs import DESTINATION_RULES_WITH_CREDENTIALS
from dragoman.mesh.proxies import GatewayView, OutboundView, views_of
from dragoman.mesh.proxy_id import ProxyType
from dragoman.mesh.rules import applies
from dragoman.mesh.settings import mesh_config
from dragoman.mesh.workloads import workload


class CredentialsView(NamedTuple):
    """What decides which credentials a proxy needs."""

    outbound: OutboundView
    gateway: GatewayView | None
    service_account: str
    """Of the pod behind the proxy: whose right to read Secrets decides."""

    @property
    def namespace(self) -> str:
        """Of the pod behind the proxy, and so of its verified identity."""
        return self.outbound.namespace


@query
def credentials_view(g: Graph, kind: ProxyType, namespace: str, pod: str) -> CredentialsView | None:
    """What decides about a pod's credentials; None for a proxy that needs none but its own certificate."""
    views = views_of(g, kind, namespace, pod)
    outbound = next((view for view in views if isinstance(view, OutboundView)), None)
    gateway = next((view for view in views if isinstance(view, GatewayView)), None)
    found = workload(g, namespace, pod)
    if outbound is None or found is None or (gateway is None and not client_credentials(g, outbound)):
        return None
    return CredentialsView(outbound, gateway, found.service_account)


@query
def credentials_of(g: Graph, view: CredentialsView) -> tuple[CredentialUse, ...]:
    """Every field that names a credential which a proxy needs; a credential may stand in several."""
    servers = server_credentials(g, view.gateway) if view.gateway is not None else ()
    return servers + client_credentials(g, view.outbound)


@query
def server_credentials(g: Graph, view: GatewayView) -> tuple[CredentialUse, ...]:
    """The credentials of the servers that a gateway offers."""
    offered = {(bound.gateway, bound.server) for bound in servers_of(g, view) if bound.is_tls}
    return tuple(
        CredentialUse(name, gateway.key, f"spec.servers[{index}].tls.{field}")
        for gateway in consult(g, gateways_of, view.labels)
        for index, server in enumerate(gateway.spec.servers)
        if server.tls is not None and (f"{gateway.namespace}/{gateway.name}", server) in offered
        for field, name in names_of_server(server.tls)
    )


@query
def client_credentials(g: Graph, view: OutboundView) -> tuple[CredentialUse, ...]:
    """The credentials that DestinationRules name for what a proxy calls.

    Those of every rule that holds for the client count, also where a closer rule for the host takes its place.
    """
    rules = consult(g, DESTINATION_RULES_WITH_CREDENTIALS, None)
    if not rules:
        return ()
    default = mesh_config(g).default_destination_rule_export_to
    return tuple(
        use
        for rule in rules
        if applies(rule, view.namespace, default, view.labels)
        for use in uses_of(rule)
        if may_hold(use.name, gateway=view.type is not ProxyType.SIDECAR, selected=_selects(rule))
    )


def _selects(rule: DestinationRule) -> bool:
    return rule.spec.workload_selector is not None
