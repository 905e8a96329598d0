"""Traffic policies and their parts (Istio: validateTrafficPolicy)."""

from collections.abc import Iterator
from datetime import timedelta

from crds.clienttls import ClientTLSMode, ClientTLSSettings
from crds.codes import problem
from crds.connectionpool import ConnectionPoolSettings, H2UpgradePolicy
from crds.loadbalancer import (
    ConsistentHashLB,
    HTTPCookie,
    LoadBalancerSettings,
    LocalityLoadBalancerSetting,
)
from crds.outlierdetection import OutlierDetection
from crds.problem import Problem
from crds.trafficpolicy import PortTrafficPolicy, TrafficPolicy
from crds.validate import bounds, names

_ZERO = timedelta()


def traffic_policy(policy: TrafficPolicy, path: str) -> Iterator[Problem]:
    if policy == TrafficPolicy():
        yield problem("DRG0308", path, "the traffic policy is empty", "remove it, or set one of its fields")
    yield from _settings(policy, path)
    seen: set[int] = set()
    for index, port_policy in enumerate(policy.port_level_settings):
        where = f"{path}.portLevelSettings[{index}]"
        number = port_policy.port.number if port_policy.port is not None else None
        if number is None:
            yield problem("DRG0308", f"{where}.port.number", "settings of a port need its number")
        elif number in seen:
            yield problem("DRG0309", f"{where}.port.number", f"port {number} has settings already")
        else:
            seen.add(number)
        yield from bounds.port(number, f"{where}.port.number")
        if PortTrafficPolicy(port=port_policy.port) == port_policy:
            yield problem("DRG0308", where, "there are no settings for this port", "remove the entry")
        yield from _settings(port_policy, where)
    if policy.retry_budget is not None:
        yield from bounds.duration(policy.retry_budget.budget_interval, f"{path}.retryBudget.budgetInterval")
    if (tunnel := policy.tunnel) is not None:
        if tunnel.protocol not in (None, "", "CONNECT", "POST"):
            yield problem("DRG0314", f"{path}.tunnel.protocol", f"{tunnel.protocol!r} is not CONNECT or POST")
        yield from names.host(tunnel.target_host, f"{path}.tunnel.targetHost", wildcard=False, ip=True)
        yield from bounds.port(tunnel.target_port, f"{path}.tunnel.targetPort")


def _settings(policy: TrafficPolicy | PortTrafficPolicy, path: str) -> Iterator[Problem]:
    if policy.connection_pool is not None:
        yield from connection_pool(policy.connection_pool, f"{path}.connectionPool")
    if policy.load_balancer is not None:
        yield from _load_balancer(policy.load_balancer, f"{path}.loadBalancer")
    if policy.outlier_detection is not None:
        yield from _outlier_detection(policy.outlier_detection, f"{path}.outlierDetection")
    if policy.tls is not None:
        yield from _client_tls(policy.tls, f"{path}.tls")


def connection_pool(pool: ConnectionPoolSettings, path: str) -> Iterator[Problem]:
    if pool.tcp is None and pool.http is None:
        yield problem("DRG0308", path, "the connection pool is empty", "set tcp or http")
    if (tcp := pool.tcp) is not None:
        where = f"{path}.tcp"
        yield from bounds.not_negative(tcp.max_connections, f"{where}.maxConnections")
        yield from bounds.duration(tcp.connect_timeout, f"{where}.connectTimeout")
        yield from bounds.duration(tcp.max_connection_duration, f"{where}.maxConnectionDuration")
        yield from bounds.duration(tcp.idle_timeout, f"{where}.idleTimeout", at_least=_ZERO)
        if tcp.tcp_keepalive is not None:
            yield from bounds.duration(tcp.tcp_keepalive.time, f"{where}.tcpKeepalive.time")
            yield from bounds.duration(tcp.tcp_keepalive.interval, f"{where}.tcpKeepalive.interval")
    if (http := pool.http) is not None:
        where = f"{path}.http"
        yield from bounds.not_negative(http.http1_max_pending_requests, f"{where}.http1MaxPendingRequests")
        yield from bounds.not_negative(http.http2_max_requests, f"{where}.http2MaxRequests")
        yield from bounds.not_negative(http.max_requests_per_connection, f"{where}.maxRequestsPerConnection")
        yield from bounds.not_negative(http.max_retries, f"{where}.maxRetries")
        yield from bounds.not_negative(http.max_concurrent_streams, f"{where}.maxConcurrentStreams")
        yield from bounds.duration(http.idle_timeout, f"{where}.idleTimeout")
        if http.http2_keep_alive is not None:
            yield from bounds.duration(http.http2_keep_alive.interval, f"{where}.http2KeepAlive.interval")
            yield from bounds.duration(http.http2_keep_alive.timeout, f"{where}.http2KeepAlive.timeout")
        if http.use_client_protocol and http.h2_upgrade_policy is H2UpgradePolicy.UPGRADE:
            yield problem("DRG0311", f"{where}.useClientProtocol", "contradicts h2UpgradePolicy UPGRADE")


def _load_balancer(settings: LoadBalancerSettings, path: str) -> Iterator[Problem]:
    given = [
        name
        for name, held in (
            ("simple", settings.simple),
            ("consistentHash", settings.consistent_hash),
            ("backendUtilization", settings.backend_utilization),
        )
        if held is not None
    ]
    if len(given) > 1:
        yield problem("DRG0307", path, f"{' and '.join(given)} exclude each other", "keep one of them")
    if (load := settings.backend_utilization) is not None:
        where = f"{path}.backendUtilization"
        yield from bounds.duration(load.weight_expiration_period, f"{where}.weightExpirationPeriod")
        yield from bounds.duration(load.weight_stabilization_period, f"{where}.weightStabilizationPeriod")
        yield from bounds.duration(load.weight_update_period, f"{where}.weightUpdatePeriod")
    if settings.consistent_hash is not None:
        yield from _consistent_hash(settings.consistent_hash, f"{path}.consistentHash")
    if settings.locality_lb_setting is not None:
        yield from locality(settings.locality_lb_setting, f"{path}.localityLbSetting")
        if settings.zone_aware_lb_setting is not None:
            yield problem("DRG0307", path, "localityLbSetting and zoneAwareLbSetting exclude each other", "keep one")
    if (warmup := settings.warmup) is not None:
        yield from bounds.duration(warmup.duration, f"{path}.warmup.duration")
        if warmup.aggression is not None and warmup.aggression < 1:
            yield problem("DRG0314", f"{path}.warmup.aggression", f"{warmup.aggression:g} is less than 1")
    if settings.warmup_duration_secs is not None:
        yield problem("DRG0401", f"{path}.warmupDurationSecs", "deprecated", "use warmup.duration")
        yield from bounds.duration(settings.warmup_duration_secs, f"{path}.warmupDurationSecs")


def _consistent_hash(settings: ConsistentHashLB, path: str) -> Iterator[Problem]:
    keys = [
        name
        for name, held in (
            ("httpHeaderName", settings.http_header_name),
            ("httpCookie", settings.http_cookie),
            ("useSourceIp", settings.use_source_ip),
            ("httpQueryParameterName", settings.http_query_parameter_name),
        )
        if held is not None
    ]
    if len(keys) != 1:
        message = f"{' and '.join(keys)} exclude each other" if keys else "there is nothing to hash"
        remedy = "set one of httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName"
        yield problem("DRG0307", path, message, remedy)
    if settings.ring_hash is not None and settings.maglev is not None:
        yield problem("DRG0307", path, "ringHash and maglev exclude each other", "keep one of them")
    if settings.http_header_name is not None:
        yield from names.header(settings.http_header_name, f"{path}.httpHeaderName")
    if settings.http_cookie is not None:
        yield from _cookie(settings.http_cookie, f"{path}.httpCookie")
    if settings.minimum_ring_size is not None:
        yield problem("DRG0401", f"{path}.minimumRingSize", "deprecated", "use ringHash.minimumRingSize")
        if settings.ring_hash is not None or settings.maglev is not None:
            yield problem("DRG0307", path, "minimumRingSize excludes ringHash and maglev", "remove minimumRingSize")
    if settings.maglev is not None and not _is_prime(settings.maglev.table_size):
        # Envoy: config.cluster.v3.Cluster.MaglevLbConfig.table_size; another number is NACKed.
        yield problem("DRG0314", f"{path}.maglev.tableSize", "not a prime number below 5000011", "such as 65537")


def _cookie(cookie: HTTPCookie, path: str) -> Iterator[Problem]:
    if not cookie.name:
        yield problem("DRG0308", f"{path}.name", "the cookie has no name")
    yield from bounds.one_line(cookie.name, f"{path}.name")
    yield from bounds.one_line(cookie.path, f"{path}.path")
    yield from bounds.duration(cookie.ttl, f"{path}.ttl", at_least=_ZERO)
    for index, attribute in enumerate(cookie.attributes):
        yield from bounds.one_line(attribute.name, f"{path}.attributes[{index}].name")
        yield from bounds.one_line(attribute.value, f"{path}.attributes[{index}].value")


def _is_prime(number: int | None) -> bool:
    if number is None:
        return False
    return 1 < number < 5_000_011 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def locality(setting: LocalityLoadBalancerSetting, path: str) -> Iterator[Problem]:
    """Istio: validateLocalityLbSetting."""
    given = [
        name
        for name, held in (
            ("distribute", setting.distribute),
            ("failover", setting.failover),
            ("failoverPriority", setting.failover_priority),
        )
        if held
    ]
    if len(given) > 1 and given != ["failover", "failoverPriority"]:
        yield problem("DRG0307", path, f"{' and '.join(given)} exclude each other", "keep one of them")
    for index, distribute in enumerate(setting.distribute):
        where = f"{path}.distribute[{index}]"
        if any(not weight for weight in distribute.to.values()) or sum(distribute.to.values()) != 100:
            yield problem("DRG0305", f"{where}.to", f"the weights sum up to {sum(distribute.to.values())}, not 100")
    for index, failover in enumerate(setting.failover):
        where = f"{path}.failover[{index}]"
        if failover.from_ and failover.from_ == failover.to:
            yield problem("DRG0311", where, f"region {failover.from_!r} cannot fail over to itself")
        for name, region in (("from", failover.from_), ("to", failover.to)):
            if region and ("/" in region or "*" in region):
                yield problem("DRG0314", f"{where}.{name}", f"{region!r} is not a region", "no zone, no wildcard")


def _outlier_detection(settings: OutlierDetection, path: str) -> Iterator[Problem]:
    yield from bounds.duration(settings.interval, f"{path}.interval")
    yield from bounds.duration(settings.base_ejection_time, f"{path}.baseEjectionTime")
    yield from bounds.percentage(settings.max_ejection_percent, f"{path}.maxEjectionPercent")
    yield from bounds.percentage(settings.min_health_percent, f"{path}.minHealthPercent")
    if settings.consecutive_errors is not None:
        yield problem("DRG0401", f"{path}.consecutiveErrors", "deprecated and ignored", "use consecutive5xxErrors")
    if settings.consecutive_local_origin_failures is not None and not settings.split_external_local_origin_errors:
        yield problem(
            "DRG0406",
            f"{path}.consecutiveLocalOriginFailures",
            "counts only when local errors are split off",
            "set splitExternalLocalOriginErrors: true",
        )
    for index, code in enumerate(settings.outlier_detection_http_error_codes):
        if not 100 <= code <= 599:
            yield problem("DRG0314", f"{path}.outlierDetectionHttpErrorCodes[{index}]", f"{code} is not an HTTP status")


def _client_tls(tls: ClientTLSSettings, path: str) -> Iterator[Problem]:
    files = [
        name
        for name, held in (
            ("clientCertificate", tls.client_certificate),
            ("privateKey", tls.private_key),
            ("caCertificates", tls.ca_certificates),
        )
        if held
    ]
    if tls.credential_name and files:
        yield problem("DRG0307", path, f"credentialName and {files[0]} exclude each other", "keep one source")
    if tls.mode is ClientTLSMode.ISTIO_MUTUAL and (files or tls.credential_name):
        yield problem("DRG0311", path, "ISTIO_MUTUAL brings its own certificates", "remove the certificates")
    if tls.mode is ClientTLSMode.MUTUAL and not tls.credential_name:
        for name, held in (("clientCertificate", tls.client_certificate), ("privateKey", tls.private_key)):
            if not held:
                yield problem("DRG0316", f"{path}.{name}", "MUTUAL needs a client certificate", "or a credentialName")
    if tls.insecure_skip_verify:
        if tls.subject_alt_names:
            yield problem("DRG0311", f"{path}.subjectAltNames", "insecureSkipVerify verifies no name", "remove one")
        yield problem("DRG0407", f"{path}.insecureSkipVerify", "the server's certificate is not verified")
