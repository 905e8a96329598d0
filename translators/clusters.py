"""Outbound clusters: one per service port and subset, and the two that stand for everything else.

Istio: pilot/pkg/networking/core/cluster.go, cluster_builder.go.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterCommonLbConfig,
    ClusterDiscoveryType,
    ClusterEdsClusterConfig,
    ClusterLbPolicy,
)
from envoy_data_plane.envoy.config.core.v3 import Metadata
from envoy_data_plane.envoy.type.v3 import Percent

from dragoman.codec import ENDPOINT, Encoded, Ref, struct
from dragoman.engine import Graph, query
from dragoman.mesh.credentials import may_hold
from dragoman.mesh.endpoints import all_speak_mtls, service_accounts
from dragoman.mesh.policies import MtlsMode, namespace_mtls_mode
from dragoman.mesh.rules import Rule, RuleKeys, merged_rule
from dragoman.mesh.services import Port, Service, service
from dragoman.mesh.settings import mesh_config, trusts_others
from translators import alpn, authorization, upstream_tls
from translators.circuit_breakers import circuit_breakers, connection_options
from translators.config_sources import ADS
from translators.load_balancers import balance, is_passthrough
from translators.names import BLACK_HOLE, PASSTHROUGH, outbound_cluster, outbound_sni, stat_name
from translators.outlier_detection import outlier_detection
from translators.peer_names import PeerNames
from translators.protocol_options import (
    follows_client,
    passthrough_options,
    protocol_options,
    speaks_http2,
)
from translators.rbac_matchers import SPIFFE
from translators.tls import exact_uri
from translators.traffic_policies import PolicyInForce, policy_in_force


@query
def outbound_cluster_of(
    g: Graph,
    namespace: str,
    name: str,
    number: int,
    subset: str,
    rules: RuleKeys,
    dials_directly: bool,
    holds_credentials: bool,
) -> Encoded | None:
    """The cluster of one port and subset of a service under the given DestinationRules.

    `dials_directly`: a captured sidecar reaches a headless service at the address its application dialled; a gateway or
    an uncaptured sidecar has no such address and balances over endpoints instead. `holds_credentials`: whether the
    client gets the Secrets that the rules name although they select no workloads.
    """
    found = service(g, namespace, name)
    port = found.port(number) if found is not None else None
    if found is None or port is None:
        return None
    rule = merged_rule(g, rules)
    if subset and (rule is None or rule.subset(subset) is None):
        return None
    policy = policy_in_force(rule, subset, number)
    cluster, refs = _cluster(found, port, subset, policy, dials_directly)
    cluster.connect_timeout = _connect_timeout(policy) or mesh_config(g).connect_timeout
    cluster.metadata = _metadata(found, port, subset, rule)
    refs |= _transport(g, cluster, found, port, subset, policy, _holds(rule, holds_credentials))
    return Encoded.of(cluster, refs=refs)


def _cluster(
    found: Service, port: Port, subset: str, policy: PolicyInForce, dials_directly: bool
) -> tuple[Cluster, frozenset[Ref]]:
    name = outbound_cluster(port.number, subset, found.host)
    cluster = Cluster(
        name=name,
        alt_stat_name=stat_name(name),
        circuit_breakers=circuit_breakers(policy.connection_pool, policy.retry_budget),
        upstream_connection_options=connection_options(policy.connection_pool),
    )
    refs: frozenset[Ref] = frozenset()
    if (found.headless and dials_directly) or is_passthrough(policy.load_balancer):
        cluster.type = ClusterDiscoveryType.ORIGINAL_DST
        cluster.lb_policy = ClusterLbPolicy.CLUSTER_PROVIDED
    else:
        cluster.type = ClusterDiscoveryType.EDS
        cluster.eds_cluster_config = ClusterEdsClusterConfig(eds_config=ADS, service_name=name)
        balance(cluster, policy.load_balancer)
        refs = frozenset({(ENDPOINT, name)})
    cluster.common_lb_config = ClusterCommonLbConfig()
    if policy.outlier_detection is not None:
        cluster.outlier_detection = outlier_detection(policy.outlier_detection)
        # Istio: minHealthPercent 0, the default, switches Envoy's panic mode off.
        least = policy.outlier_detection.min_health_percent or 0
        cluster.common_lb_config.healthy_panic_threshold = Percent(value=float(least))
    protocol_options(cluster, port.protocol, policy.connection_pool, upstream_tls.names_of_requests(policy.tls))
    return cluster, refs


def _connect_timeout(policy: PolicyInForce) -> timedelta | None:
    tcp = policy.connection_pool.tcp if policy.connection_pool is not None else None
    return tcp.connect_timeout if tcp is not None else None


def _metadata(found: Service, port: Port, subset: str, rule: Rule | None) -> Metadata:
    """What telemetry and tools read off a cluster (Istio: `istio` filter metadata)."""
    istio: dict[str, object] = {
        "default_original_port": port.number,
        "host": found.host,
        "name": found.name,
        "namespace": found.namespace,
        "services": [{"host": found.host, "name": found.name, "namespace": found.namespace}],
    }
    if rule is not None:
        istio["config"] = f"/apis/networking.istio.io/v1/namespaces/{rule.namespace}/destination-rule/{rule.name}"
    if subset:
        istio["subset"] = subset
    return Metadata(filter_metadata={"istio": struct(istio)})


def _transport(
    g: Graph,
    cluster: Cluster,
    found: Service,
    port: Port,
    subset: str,
    policy: PolicyInForce,
    holds: Callable[[str], bool],
) -> frozenset[Ref]:
    offer = alpn.offered(port.protocol)
    if speaks_http2(port.protocol, policy.connection_pool):
        offer = alpn.HTTP2
    elif follows_client(port.protocol, policy.connection_pool):
        offer = alpn.TCP  # requests offer their own protocol, see translators.alpn
    sni = outbound_sni(port.number, subset, found.host)
    if policy.tls is not None:
        return upstream_tls.written(
            cluster,
            policy.tls,
            sni=sni,
            alpn=offer,
            peers=_peers(g, found),
            http2=speaks_http2(port.protocol, policy.connection_pool),
            holds=holds,
            defaults=mesh_config(g).tls_defaults,
        )
    if not mesh_config(g).enable_auto_mtls or namespace_mtls_mode(g, found.namespace) is MtlsMode.DISABLE:
        return frozenset()
    if cluster.type is not ClusterDiscoveryType.ORIGINAL_DST:
        return upstream_tls.automatic(cluster, sni, offer, _peers(g, found))
    # Here Envoy knows no endpoints whose metadata could choose, so it is mutual TLS for all of them or for none.
    if not all_speak_mtls(g, found.namespace, found.name, port.name):
        return frozenset()
    return upstream_tls.mutual(cluster, sni, offer, _peers(g, found))


def _holds(rule: Rule | None, gateway: bool) -> Callable[[str], bool]:
    """Whether the client gets a credential that the rule names."""
    return partial(may_hold, gateway=gateway, selected=rule is not None and rule.selects)


def _peers(g: Graph, found: Service) -> PeerNames:
    """Who serves, under every name of the mesh's trust domain: while it changes, servers have either (Istio:
    pilot/pkg/model/push_context.go, initServiceAccounts). Where no account is known nobody is looked at but the roots,
    unless these verify others, too: they must not pass for ours."""
    known = tuple(
        exact_uri(f"{SPIFFE}{domain}/ns/{namespace}/sa/{account}")
        for namespace, account in service_accounts(g, found.namespace, found.name)
        for domain in authorization.trust_domains(g).all
    )
    return known or (authorization.mesh_peers(g) if trusts_others(g) else ())


def named(cluster: str) -> Metadata:
    """Metrics name these clusters where they would name a service: what goes past the mesh can be counted."""
    return Metadata(filter_metadata={"istio": struct({"name": cluster})})


@query
def black_hole_cluster(g: Graph) -> Encoded:
    """A cluster without endpoints: where traffic goes that must not go anywhere."""
    return Encoded.of(
        Cluster(
            name=BLACK_HOLE,
            alt_stat_name=stat_name(BLACK_HOLE),
            type=ClusterDiscoveryType.STATIC,
            connect_timeout=mesh_config(g).connect_timeout,
            metadata=named(BLACK_HOLE),
        )
    )


@query
def passthrough_cluster(g: Graph) -> Encoded:
    """The address the application dialled, in whatever protocol it speaks."""
    cluster = Cluster(
        name=PASSTHROUGH,
        alt_stat_name=stat_name(PASSTHROUGH),
        type=ClusterDiscoveryType.ORIGINAL_DST,
        lb_policy=ClusterLbPolicy.CLUSTER_PROVIDED,
        connect_timeout=mesh_config(g).connect_timeout,
        circuit_breakers=circuit_breakers(None, None),
        metadata=named(PASSTHROUGH),
    )
    passthrough_options(cluster)
    return Encoded.of(cluster)
