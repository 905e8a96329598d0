"""DestinationRule and traffic policies: see `crds.validate.destinationrule` and `crds.validate.trafficpolicy`."""

from collections.abc import Mapping

import msgspec

from crds.clienttls import ClientTLSSettings
from crds.connectionpool import ConnectionPoolSettings, HTTPSettings, TCPSettings
from crds.destinationrule import DestinationRuleSpec, Subset
from crds.loadbalancer import (
    Attribute,
    ConsistentHashLB,
    Distribute,
    HTTPCookie,
    LoadBalancerSettings,
    LocalityLoadBalancerSetting,
    MagLev,
    WarmupConfiguration,
)
from crds.manifests.cel import count, given, implies, is_one_of, lists, not_both, texts, yes
from crds.manifests.constraint import Constraint, Rule
from crds.manifests.patterns import (
    DOMAIN_OR_IP,
    DURATION_OR_ZERO,
    EXPORT_TO,
    HOST_OR_IP,
    LABEL,
    LABEL_VALUES,
    NOT_NEGATIVE,
    ONE_LINE,
    PERCENTAGE,
    PORT,
    SOME_LINE,
    TOKEN,
    items,
    text,
    values,
)
from crds.manifests.rules.attachment import ALONE
from crds.outlierdetection import OutlierDetection
from crds.trafficpolicy import PortTrafficPolicy, TrafficPolicy, TunnelSettings

_SETTINGS = ("loadBalancer", "connectionPool", "outlierDetection", "tls")
_REGION = text("region", "[^/*]*")
_FAILOVER = items({"properties": {"from": _REGION, "to": _REGION}})
_FILES = ("clientCertificate", "privateKey", "caCertificates")

CONSTRAINTS: Mapping[type[msgspec.Struct], Constraint] = {
    DestinationRuleSpec: Constraint(rules=(ALONE,), fields={"host": HOST_OR_IP, "exportTo": items(EXPORT_TO)}),
    Subset: Constraint(fields={"name": LABEL, "labels": LABEL_VALUES}),
    TrafficPolicy: Constraint(
        rules=(
            Rule(
                f"{given(*_SETTINGS, 'tunnel', 'proxyProtocol', 'retryBudget')} || {lists('portLevelSettings')}",
                "the traffic policy is empty: remove it, or set one of its fields",
                "DRG0308",
            ),
        )
    ),
    PortTrafficPolicy: Constraint(
        rules=(Rule(given(*_SETTINGS), "there are no settings for this port: remove the entry", "DRG0308"),),
        required=("port",),
    ),
    TunnelSettings: Constraint(
        fields={"targetHost": DOMAIN_OR_IP, "targetPort": PORT, "protocol": {"enum": ["", "CONNECT", "POST"]}}
    ),
    ConnectionPoolSettings: Constraint(
        rules=(Rule(given("tcp", "http"), "the connection pool is empty: set tcp or http", "DRG0308"),)
    ),
    TCPSettings: Constraint(fields={"maxConnections": NOT_NEGATIVE, "idleTimeout": DURATION_OR_ZERO}),
    HTTPSettings: Constraint(
        rules=(
            Rule(
                not_both(yes("useClientProtocol"), is_one_of("h2UpgradePolicy", "UPGRADE")),
                "useClientProtocol contradicts h2UpgradePolicy UPGRADE",
                "DRG0311",
                ".useClientProtocol",
            ),
        ),
        fields=dict.fromkeys(
            (
                "http1MaxPendingRequests",
                "http2MaxRequests",
                "maxRequestsPerConnection",
                "maxRetries",
                "maxConcurrentStreams",
            ),
            NOT_NEGATIVE,
        ),
    ),
    LoadBalancerSettings: Constraint(
        rules=(
            Rule(
                f"{count(given('simple'), given('consistentHash'), given('backendUtilization'))} <= 1",
                "simple, consistentHash and backendUtilization exclude each other: keep one of them",
                "DRG0307",
            ),
            Rule(
                not_both(given("localityLbSetting"), given("zoneAwareLbSetting")),
                "localityLbSetting and zoneAwareLbSetting exclude each other: keep one",
                "DRG0307",
            ),
        )
    ),
    ConsistentHashLB: Constraint(
        rules=(
            Rule(
                count(
                    given("httpHeaderName"),
                    given("httpCookie"),
                    given("useSourceIp"),
                    given("httpQueryParameterName"),
                )
                + " == 1",
                "set one of httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName",
                "DRG0307",
            ),
            Rule(
                f"{count(given('ringHash'), given('maglev'), given('minimumRingSize'))} <= 1",
                "ringHash, maglev and minimumRingSize exclude each other: keep one of them",
                "DRG0307",
            ),
        ),
        fields={"httpHeaderName": TOKEN},
    ),
    HTTPCookie: Constraint(fields={"name": SOME_LINE, "path": ONE_LINE, "ttl": DURATION_OR_ZERO}),
    Attribute: Constraint(fields={"name": ONE_LINE, "value": ONE_LINE}),
    # Envoy: config.cluster.v3.Cluster.MaglevLbConfig.table_size; that it is a prime number CEL cannot say.
    MagLev: Constraint(required=("tableSize",), fields={"tableSize": {"minimum": 2, "maximum": 5_000_010}}),
    LocalityLoadBalancerSetting: Constraint(
        rules=(
            Rule(
                not_both(lists("distribute"), lists("failover", "failoverPriority")),
                "distribute excludes failover and failoverPriority: keep one of them",
                "DRG0307",
            ),
        ),
        fields={
            "distribute": items({"required": ["to"]}),
            "failover": _FAILOVER,
        },
    ),
    Distribute: Constraint(fields={"to": values({"minimum": 1, "maximum": 100}, minProperties=1)}),
    WarmupConfiguration: Constraint(fields={"aggression": {"minimum": 1}}),
    OutlierDetection: Constraint(
        fields={
            "maxEjectionPercent": PERCENTAGE,
            "minHealthPercent": PERCENTAGE,
            "outlierDetectionHttpErrorCodes": items({"minimum": 100, "maximum": 599}),
        }
    ),
    ClientTLSSettings: Constraint(
        rules=(
            Rule(
                not_both(texts("credentialName"), texts(*_FILES)),
                "credentialName and files exclude each other: keep one source",
                "DRG0307",
            ),
            Rule(
                not_both(is_one_of("mode", "ISTIO_MUTUAL"), texts(*_FILES, "credentialName")),
                "ISTIO_MUTUAL brings its own certificates: remove the certificates",
                "DRG0311",
            ),
            *(
                Rule(
                    f"!{is_one_of('mode', 'MUTUAL')} || {texts('credentialName', field)}",
                    "MUTUAL needs a client certificate and its key, or a credentialName",
                    "DRG0316",
                    f".{field}",
                )
                for field in ("clientCertificate", "privateKey")
            ),
            Rule(
                implies(yes("insecureSkipVerify"), f"!{lists('subjectAltNames')}"),
                "insecureSkipVerify verifies no name: remove subjectAltNames, or it",
                "DRG0311",
                ".subjectAltNames",
            ),
        )
    ),
}
