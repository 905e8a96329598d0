"""A real Envoy reads what the codec wrote as what was meant.

The bootstrap is built from dataclasses, written, printed as JSON and given to Envoy, which parses it with its own
descriptors, validates it and prints it again on /config_dump.
"""

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any as AnyValue

import pytest
from betterproto2 import Message
from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog, AccessLogFilter, ResponseFlagFilter
from envoy_data_plane.envoy.config.bootstrap.v3 import Admin, Bootstrap, BootstrapStaticResources
from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterCommonLbConfig,
    ClusterCommonLbConfigLocalityWeightedLbConfig,
    ClusterDiscoveryType,
    ClusterLbPolicy,
    ClusterRingHashLbConfig,
    OutlierDetection,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    DataSource,
    HeaderValue,
    HeaderValueOption,
    HealthCheck,
    HealthCheckHttpHealthCheck,
    HealthStatus,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    Locality,
    Metadata,
    Node,
    RuntimeFractionalPercent,
    SocketAddress,
    SubstitutionFormatString,
    TrafficDirection,
    TransportSocket,
)
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, FilterChainMatch, Listener, ListenerFilter
from envoy_data_plane.envoy.config.rbac.v3 import Permission, Policy, Principal, PrincipalSet, Rbac, RbacAction
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    HeaderMatcher,
    RetryPolicy,
    RetryPolicyRetryHostPredicate,
    Route,
    RouteAction,
    RouteActionHashPolicy,
    RouteActionHashPolicyHeader,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
    WeightedCluster,
    WeightedClusterClusterWeight,
)
from envoy_data_plane.envoy.extensions.access_loggers.file.v3 import FileAccessLog
from envoy_data_plane.envoy.extensions.access_loggers.stats.v3 import Config as StatsAccessLog
from envoy_data_plane.envoy.extensions.access_loggers.stats.v3 import (
    ConfigCounter,
    ConfigHistogram,
    ConfigHistogramUnit,
    ConfigStat,
    ConfigTag,
)
from envoy_data_plane.envoy.extensions.filters.common.set_filter_state.v3 import (
    FilterStateValue,
    FilterStateValueSharedWithUpstream,
)
from envoy_data_plane.envoy.extensions.filters.http.fault.v3 import FaultAbort, HttpFault
from envoy_data_plane.envoy.extensions.filters.http.rbac.v3 import Rbac as HttpRbac
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.http.set_filter_state.v3 import Config as SetFilterState
from envoy_data_plane.envoy.extensions.filters.listener.tls_inspector.v3 import TlsInspector
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerForwardClientCertDetails,
    HttpConnectionManagerSetCurrentClientCertDetails,
    HttpFilter,
)
from envoy_data_plane.envoy.extensions.filters.network.tcp_proxy.v3 import TcpProxy
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsParameters,
    TlsParametersTlsProtocol,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptions as UpstreamHttpOptions
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptionsUseDownstreamHttpConfig as UseDownstreamHttpConfig,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher
from envoy_data_plane.envoy.type.v3 import (
    FractionalPercent,
    FractionalPercentDenominatorType,
    Int64Range,
    Percent,
    Scope,
)
from envoy_data_plane.google.protobuf import StringValue
from envoy_data_plane.xds.core.v3 import CidrRange
from envoy_data_plane.xds.type.matcher.v3 import Matcher, MatcherMatcherTree, MatcherOnMatch

from dragoman.codec import encode, from_json, pack, struct, to_json
from dragoman.codec.messages import IpMatcher, IpMatcherIpRangeMatcher
from tests.codec.envoy_descriptors import ENVOY

pytestmark = pytest.mark.envoy

LOOPBACK = Address(socket_address=SocketAddress(address="127.0.0.1", port_value=0))
SPIFFE = "spiffe://cluster.local/ns/default/sa/"


def access_logs() -> list[AccessLog]:
    tags = [ConfigTag(name="response_code", value_format="%RESPONSE_CODE%")]
    stats = StatsAccessLog(
        stats_scope=Scope(prefix="mesh"),
        counters=[ConfigCounter(stat=ConfigStat(name="requests_total", tags=tags), value_fixed=1)],
        histograms=[
            ConfigHistogram(
                stat=ConfigStat(name="duration", tags=tags),
                unit=ConfigHistogramUnit.Milliseconds,
                value_format="%DURATION%",
            )
        ],
    )
    text = FileAccessLog(
        path="/dev/null",
        log_format=SubstitutionFormatString(json_format=struct({"code": "%RESPONSE_CODE%", "a": {"b": "%PROTOCOL%"}})),
    )
    failed = AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=["UF", "NR"]))
    return [
        AccessLog(name="envoy.access_loggers.stats", typed_config=pack(stats)),
        AccessLog(name="envoy.access_loggers.file", filter=failed, typed_config=pack(text)),
    ]


def authorization() -> HttpRbac:
    allowed = Policy(
        permissions=[Permission(any=True)],
        principals=[
            Principal(
                or_ids=PrincipalSet(
                    ids=[
                        Principal(header=HeaderMatcher(name="x-user", string_match=StringMatcher(prefix="adm"))),
                        Principal(not_id=Principal(any=True)),
                    ]
                )
            )
        ],
    )
    return HttpRbac(rules=Rbac(action=RbacAction.ALLOW, policies={"b": allowed, "a": allowed}))


def by_source_address() -> HttpRbac:
    """An RBAC by matcher, with messages of the project's own inside."""
    from envoy_data_plane.envoy.config.rbac.v3 import Action
    from envoy_data_plane.envoy.extensions.matching.common_inputs.network.v3 import SourceIpInput

    def verdict(name: str, action: RbacAction) -> MatcherOnMatch:
        return MatcherOnMatch(
            action=xds_extension(name, Action(name=name, action=action)),
        )

    ranges = IpMatcher(
        range_matchers=[
            IpMatcherIpRangeMatcher(
                ranges=[CidrRange(address_prefix="127.0.0.0", prefix_len=8)],
                on_match=verdict("local", RbacAction.ALLOW),
            )
        ]
    )
    tree = MatcherMatcherTree(
        input=xds_extension("source-ip", SourceIpInput()), custom_match=xds_extension("ip-range", ranges)
    )
    return HttpRbac(matcher=Matcher(matcher_tree=tree, on_no_match=verdict("other", RbacAction.DENY)))


def xds_extension(name: str, message: AnyValue) -> AnyValue:
    from envoy_data_plane.xds.core.v3 import TypedExtensionConfig as XdsExtension

    return XdsExtension(name=name, typed_config=pack(message))


def routes() -> RouteConfiguration:
    retries = RetryPolicy(
        retry_on="connect-failure,retriable-status-codes",
        num_retries=0,
        retriable_status_codes=[503, 429],
        per_try_timeout=timedelta(milliseconds=1, microseconds=1),
        retry_host_predicate=[
            RetryPolicyRetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts", typed_config=pack(PreviousHostsPredicate())
            )
        ],
    )
    split = WeightedCluster(
        clusters=[
            WeightedClusterClusterWeight(name="plain", weight=90),
            WeightedClusterClusterWeight(name="secure", weight=0),
        ]
    )
    fault = HttpFault(
        abort=FaultAbort(
            http_status=418,
            percentage=FractionalPercent(numerator=500_000, denominator=FractionalPercentDenominatorType.MILLION),
        )
    )
    weighted = Route(
        name="weighted",
        match=RouteMatch(
            safe_regex=RegexMatcher(regex="/v[12]/.*"),
            headers=[
                HeaderMatcher(name="x-a", present_match=False),
                HeaderMatcher(name="x-b", range_match=Int64Range(start=-5, end=2**40), invert_match=True),
            ],
            runtime_fraction=RuntimeFractionalPercent(default_value=FractionalPercent(numerator=1), runtime_key="k"),
        ),
        route=RouteAction(
            weighted_clusters=split,
            timeout=timedelta(),
            retry_policy=retries,
            hash_policy=[RouteActionHashPolicy(header=RouteActionHashPolicyHeader(header_name="x-h"), terminal=True)],
        ),
        metadata=Metadata(filter_metadata={"istio": struct({"z": [None, -0.5, {"ü": True}], "a": "x"})}),
        typed_per_filter_config={"envoy.filters.http.fault": pack(fault)},
        request_headers_to_add=[HeaderValueOption(header=HeaderValue(key="x-c", value="✓"))],
    )
    rest = Route(
        match=RouteMatch(prefix="/"),
        direct_response=DirectResponseAction(status=404, body=DataSource(inline_bytes=b"\x00\xff")),
    )
    return RouteConfiguration(
        name="80",
        virtual_hosts=[VirtualHost(name="all", domains=["*"], routes=[weighted, rest])],
        validate_clusters=True,
    )


def connection_manager() -> HttpConnectionManager:
    state = SetFilterState(
        on_request_headers=[
            FilterStateValue(
                object_key="envoy.network.application_protocols",
                format_string=SubstitutionFormatString(text_format_source=DataSource(inline_string="istio,h2")),
                shared_with_upstream=FilterStateValueSharedWithUpstream.ONCE,
            )
        ]
    )
    filters = {
        "envoy.filters.http.set_filter_state": state,
        "envoy.filters.http.rbac": authorization(),
        "by-source": by_source_address(),
        "envoy.filters.http.fault": HttpFault(),
        "envoy.filters.http.router": Router(suppress_envoy_headers=True),
    }
    return HttpConnectionManager(
        stat_prefix="inbound",
        route_config=routes(),
        http_filters=[HttpFilter(name=name, typed_config=pack(message)) for name, message in filters.items()],
        access_log=access_logs(),
        use_remote_address=False,
        forward_client_cert_details=HttpConnectionManagerForwardClientCertDetails.APPEND_FORWARD,
        set_current_client_cert_details=HttpConnectionManagerSetCurrentClientCertDetails(subject=True, uri=True),
        common_http_protocol_options=HttpProtocolOptions(idle_timeout=timedelta(hours=1, microseconds=7)),
        stream_idle_timeout=timedelta(),
        proxy_100_continue=True,
    )


def listener() -> Listener:
    http = FilterChain(
        name="http",
        filter_chain_match=FilterChainMatch(transport_protocol="raw_buffer", application_protocols=["http/1.1", "h2c"]),
        filters=[Filter(name="envoy.filters.network.http_connection_manager", typed_config=pack(connection_manager()))],
    )
    tcp = TcpProxy(stat_prefix="tcp", cluster="plain", idle_timeout=timedelta(0))
    return Listener(
        name="inbound",
        address=LOOPBACK,
        filter_chains=[http],
        default_filter_chain=FilterChain(
            filters=[Filter(name="envoy.filters.network.tcp_proxy", typed_config=pack(tcp))]
        ),
        listener_filters=[
            ListenerFilter(name="envoy.filters.listener.tls_inspector", typed_config=pack(TlsInspector()))
        ],
        listener_filters_timeout=timedelta(),
        continue_on_listener_filters_timeout=True,
        traffic_direction=TrafficDirection.INBOUND,
        bind_to_port=False,
    )


def plain_cluster() -> Cluster:
    def endpoint(port: int, weight: int) -> LbEndpoint:
        address = Address(socket_address=SocketAddress(address="127.0.0.1", port_value=port))
        return LbEndpoint(
            endpoint=Endpoint(address=address),
            load_balancing_weight=weight,
            health_status=HealthStatus.HEALTHY,
            metadata=Metadata(filter_metadata={"istio": struct({"workload": f"w{port};default"})}),
        )

    return Cluster(
        name="plain",
        type=ClusterDiscoveryType.STATIC,
        connect_timeout=timedelta(seconds=2.5),
        lb_policy=ClusterLbPolicy.RING_HASH,
        ring_hash_lb_config=ClusterRingHashLbConfig(minimum_ring_size=16),
        load_assignment=ClusterLoadAssignment(
            cluster_name="plain",
            endpoints=[
                LocalityLbEndpoints(
                    locality=Locality(region="r", zone="z"),
                    lb_endpoints=[endpoint(1, 1), endpoint(2, 128)],
                    load_balancing_weight=3,
                ),
                LocalityLbEndpoints(priority=1, lb_endpoints=[endpoint(3, 1)], load_balancing_weight=1),
            ],
        ),
        common_lb_config=ClusterCommonLbConfig(
            healthy_panic_threshold=Percent(value=0.0),
            locality_weighted_lb_config=ClusterCommonLbConfigLocalityWeightedLbConfig(),
        ),
        outlier_detection=OutlierDetection(
            consecutive_5xx=0,
            enforcing_consecutive_5xx=100,
            interval=timedelta(milliseconds=1500),
        ),
        circuit_breakers=CircuitBreakers(
            thresholds=[CircuitBreakersThresholds(max_connections=2**32 - 1, track_remaining=True)]
        ),
        health_checks=[
            HealthCheck(
                timeout=timedelta(seconds=1),
                interval=timedelta(seconds=60),
                unhealthy_threshold=2,
                healthy_threshold=1,
                http_health_check=HealthCheckHttpHealthCheck(
                    path="/", expected_statuses=[Int64Range(start=200, end=300)]
                ),
            )
        ],
    )


def secure_cluster() -> Cluster:
    matchers = [
        SubjectAltNameMatcher(san_type=SubjectAltNameMatcherSanType.URI, matcher=StringMatcher(exact=SPIFFE + name))
        for name in ("b", "a")
    ]
    tls = UpstreamTlsContext(
        sni="outbound_.80_._.secure",
        common_tls_context=CommonTlsContext(
            alpn_protocols=["istio", "h2"],
            tls_params=TlsParameters(
                tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2,
                tls_maximum_protocol_version=TlsParametersTlsProtocol.TLSv1_3,
            ),
            validation_context=CertificateValidationContext(
                trusted_ca=DataSource(filename="/etc/ssl/certs/ca-certificates.crt"),
                match_typed_subject_alt_names=matchers,
            ),
        ),
    )
    options = UpstreamHttpOptions(
        use_downstream_protocol_config=UseDownstreamHttpConfig(
            http2_protocol_options=Http2ProtocolOptions(max_concurrent_streams=2**31 - 1)
        )
    )
    return Cluster(
        name="secure",
        type=ClusterDiscoveryType.STATIC,
        transport_socket=TransportSocket(name="envoy.transport_sockets.tls", typed_config=pack(tls)),
        typed_extension_protocol_options={"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack(options)},
        metadata=Metadata(typed_filter_metadata={"note": pack(StringValue(value="text"))}),
    )


def bootstrap() -> Bootstrap:
    return Bootstrap(
        node=Node(
            id="sidecar~127.0.0.1~a.default~default.svc.cluster.local",
            cluster="a.default",
            locality=Locality(region="r"),
            metadata=struct({"LABELS": {"b": "2", "a": "1"}, "PORTS": [1, 2.5], "ON": True, "NONE": None}),
        ),
        admin=Admin(address=LOOPBACK),
        static_resources=BootstrapStaticResources(listeners=[listener()], clusters=[plain_cluster(), secure_cluster()]),
        stats_flush_interval=timedelta(seconds=299),
    )


@contextmanager
def running_envoy(config: Path) -> Iterator[str]:
    """Run Envoy on a bootstrap until the block ends; yield the address of its admin interface."""
    address, log = config.with_name("admin.txt"), config.with_name("envoy.log")
    command = [ENVOY, "--config-path", config, "--admin-address-path", address, "--log-path", log, "--concurrency", "1"]
    # Without a thread of its own: Envoy ends with the thread that started it.
    process = subprocess.Popen([*map(str, command), "--disable-hot-restart"])
    try:
        deadline = time.monotonic() + 120
        while not (address.exists() and is_ready(address.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)  # neither file nor port can be waited for otherwise
        yield address.read_text()
    finally:
        process.terminate()
        process.wait(60)


def is_ready(admin: str) -> bool:
    try:
        return bool(admin) and get(admin, "/ready") == b"LIVE\n"
    except OSError:
        return False


def get(admin: str, path: str) -> bytes:
    with urllib.request.urlopen(f"http://{admin}{path}", timeout=60) as response:
        content: bytes = response.read()
        return content


def test_envoy_reads_what_was_built(tmp_path: Path) -> None:
    built, config = bootstrap(), tmp_path / "bootstrap.json"
    config.write_text(json.dumps(to_json(Bootstrap, encode(built))))
    with running_envoy(config) as admin:
        dumps = {dump["@type"].rpartition(".")[2]: dump for dump in json.loads(get(admin, "/config_dump"))["configs"]}

    # Canonical JSON of both, so that the order of a map inside an Any does not matter.
    read = normalised(Bootstrap, dumps["BootstrapConfigDump"]["bootstrap"])
    for added in ("userAgentName", "userAgentBuildVersion", "extensions"):
        del read["node"][added]
    assert read == to_json(Bootstrap, encode(built))

    clusters = [normalised(Cluster, entry["cluster"]) for entry in dumps["ClustersConfigDump"]["static_clusters"]]
    built_clusters = {cluster.name: cluster for cluster in built.static_resources.clusters}
    assert {cluster["name"]: cluster for cluster in clusters} == {
        name: to_json(Cluster, encode(cluster)) for name, cluster in built_clusters.items()
    }
    (static,) = dumps["ListenersConfigDump"]["static_listeners"]
    assert normalised(Listener, static["listener"]) == to_json(Listener, encode(built.static_resources.listeners[0]))


def normalised(cls: type[Message], dumped: dict[str, AnyValue]) -> dict[str, AnyValue]:
    """Return what Envoy printed (snake_case, an @type in every resource) as canonical JSON."""
    content = {key: value for key, value in dumped.items() if key != "@type"}
    return to_json(cls, from_json(cls, content))
