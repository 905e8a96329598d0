"""ServiceEntry, WorkloadEntry and WorkloadGroup: see the modules of these names in `crds.validate`."""

from collections.abc import Mapping

import msgspec

from crds.manifests.cel import count, given, implies, is_one_of, lists, not_both, texts
from crds.manifests.constraint import Constraint, Rule, merge, rules
from crds.manifests.patterns import (
    EXPORT_TO,
    LABEL,
    LABEL_VALUES,
    NAMED_HOST_OR_IP,
    PORT,
    SHORT_CIDR,
    WORKLOAD_ADDRESS,
    any_case,
    items,
    optional,
    values,
)
from crds.manifests.rules.attachment import ALONE
from crds.serviceentry import ServiceEntrySpec, ServicePort
from crds.validate.serviceentry import PROTOCOLS
from crds.workloadentry import WorkloadEntry, WorkloadEntrySpec
from crds.workloadgroup import (
    ExecHealthCheckConfig,
    GrpcHealthCheckConfig,
    HTTPHealthCheckConfig,
    ReadinessProbe,
    TCPHealthCheckConfig,
    WorkloadGroupObjectMeta,
)

_DNS = ("DNS", "DNS_ROUND_ROBIN")
_UNIX = "self.address.startsWith('unix://')"
_NAMED = "['HTTP', 'HTTPS', 'GRPC', 'GRPC-WEB', 'GRPC_WEB', 'HTTP2', 'TLS']"

_PORT_NAMES = rules(
    Rule(f"self.all(name, name.matches('{LABEL['pattern']}'))", "one is not the name of a port", "DRG0301")
)
WORKLOAD = Constraint(
    rules=(
        Rule(
            texts("address", "network"),
            "an endpoint needs an address, or the network it is behind",
            "DRG0308",
            ".address",
        ),
        Rule(
            f"!has(self.address) || !{_UNIX} || !{lists('ports')}",
            "a UNIX socket has no ports: remove them",
            "DRG0311",
            ".ports",
        ),
    ),
    fields={"address": WORKLOAD_ADDRESS},
)
"""A workload that is there; what a WorkloadGroup holds is a template of one."""

CONSTRAINTS: Mapping[type[msgspec.Struct], Constraint] = {
    ServiceEntrySpec: Constraint(
        rules=(
            Rule(
                implies(
                    is_one_of("resolution", *_DNS, "DYNAMIC_DNS"),
                    "!has(self.addresses) || self.addresses.all(address, !address.contains('/'))",
                ),
                "a CIDR block of addresses goes with resolution NONE or STATIC only",
                "DRG0311",
                ".addresses",
            ),
            Rule(
                implies(is_one_of("resolution", "DYNAMIC_DNS"), "self.hosts.all(host, host.startsWith('*'))"),
                "DYNAMIC_DNS is for wildcards: use DNS",
                "DRG0311",
                ".hosts",
            ),
            Rule(
                f"!{is_one_of('resolution', *_DNS)} || {lists('endpoints')}"
                " || self.hosts.all(host, !host.startsWith('*'))",
                "a wildcard cannot be resolved: name endpoints, or use DYNAMIC_DNS or NONE",
                "DRG0311",
                ".hosts",
            ),
            Rule(
                not_both(lists("endpoints"), given("workloadSelector")),
                "endpoints and workloadSelector exclude each other: keep one of them",
                "DRG0307",
            ),
            Rule(
                f"!{lists('endpoints')} || {is_one_of('resolution', 'STATIC', *_DNS)}",
                "resolution NONE and DYNAMIC_DNS take no endpoints: use STATIC or DNS",
                "DRG0311",
                ".endpoints",
            ),
            Rule(
                f"!{is_one_of('resolution', 'DNS_ROUND_ROBIN')} || !has(self.endpoints) || size(self.endpoints) <= 1",
                "DNS_ROUND_ROBIN takes one endpoint: use DNS",
                "DRG0311",
                ".endpoints",
            ),
            Rule(
                not_both(is_one_of("resolution", "DYNAMIC_DNS"), given("workloadSelector")),
                "DYNAMIC_DNS selects no workloads",
                "DRG0311",
                ".workloadSelector",
            ),
            Rule(
                f"!{is_one_of('resolution', 'STATIC')} || !has(self.endpoints) || self.endpoints.all(endpoint,"
                " has(endpoint.address) && endpoint.address.matches('^unix://|:|^[0-9.]+$'))",
                "endpoints of resolution STATIC have IP addresses: use DNS",
                "DRG0310",
                ".endpoints",
            ),
            Rule(
                f"!{is_one_of('resolution', *_DNS)} || !has(self.endpoints) || self.endpoints.all(endpoint,"
                " !has(endpoint.address) || !endpoint.address.startsWith('unix://'))",
                "a UNIX socket is not resolved: use STATIC",
                "DRG0311",
                ".endpoints",
            ),
            Rule(
                "size(self.hosts) <= 1 || !has(self.resolution) || self.resolution == 'NONE' || !has(self.ports)"
                f" || self.ports.all(port, has(port.protocol) && port.protocol.upperAscii() in {_NAMED})",
                "several hosts cannot be told apart on a port that is neither HTTP nor TLS:"
                " write one ServiceEntry per host",
                "DRG0311",
                ".ports",
            ),
            Rule(
                "!has(self.ports) || self.ports.all(port, self.ports.exists_one(other, other.number == port.number))",
                "two ports have the same number",
                "DRG0309",
                ".ports",
            ),
            ALONE,
        ),
        fields={
            "hosts": items(NAMED_HOST_OR_IP, minItems=1),
            "addresses": items(SHORT_CIDR),
            "ports": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
            "endpoints": items(WORKLOAD.keywords),
            "exportTo": items(EXPORT_TO),
        },
    ),
    WorkloadEntry: Constraint(fields={"spec": merge(WORKLOAD.keywords, {"properties": {"ports": _PORT_NAMES}})}),
    ServicePort: Constraint(
        fields={
            "number": PORT,
            "targetPort": PORT,
            "name": LABEL,
            "protocol": optional("protocol", any_case(*sorted(PROTOCOLS))),
        }
    ),
    WorkloadEntrySpec: Constraint(fields={"ports": values(PORT), "labels": LABEL_VALUES}),
    WorkloadGroupObjectMeta: Constraint(fields={"labels": LABEL_VALUES}),
    ReadinessProbe: Constraint(
        rules=(
            Rule(
                f"{count(given('httpGet'), given('tcpSocket'), given('exec'), given('grpc'))} == 1",
                "a probe is one of httpGet, tcpSocket, exec and grpc",
                "DRG0307",
            ),
        )
    ),
    HTTPHealthCheckConfig: Constraint(fields={"port": PORT, "scheme": {"enum": ["", "HTTP", "HTTPS"]}}),
    TCPHealthCheckConfig: Constraint(fields={"port": PORT}),
    GrpcHealthCheckConfig: Constraint(fields={"port": PORT}),
    ExecHealthCheckConfig: Constraint(required=("command",), fields={"command": {"minItems": 1}}),
}
