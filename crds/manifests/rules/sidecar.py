"""Sidecar: see `crds.validate.sidecar`."""

from collections.abc import Mapping

import msgspec

from crds.manifests.cel import given, implies, is_one_of, lists, texts
from crds.manifests.constraint import Constraint, Rule
from crds.manifests.patterns import BIND, BIND_ADDRESS, EGRESS_HOST, LOCAL_ENDPOINT, PORT, items
from crds.manifests.rules.gateway import PROTOCOL
from crds.sidecar import (
    IstioEgressListener,
    IstioIngressListener,
    OutboundTrafficPolicy,
    SidecarPort,
    SidecarSpec,
)

CONSTRAINTS: Mapping[type[msgspec.Struct], Constraint] = {
    SidecarSpec: Constraint(
        rules=(
            Rule(
                f"{lists('ingress', 'egress')} || {given('outboundTrafficPolicy', 'inboundConnectionPool')}",
                "the Sidecar says nothing: add ingress, egress or outboundTrafficPolicy",
                "DRG0308",
            ),
            Rule(
                "!has(self.egress) || size(self.egress.filter(listener, !has(listener.port))) <= 1",
                "two egress listeners have no port: keep one of them",
                "DRG0309",
                ".egress",
            ),
        )
    ),
    SidecarPort: Constraint(required=("number", "protocol"), fields={"number": PORT, "protocol": PROTOCOL}),
    IstioIngressListener: Constraint(fields={"bind": BIND_ADDRESS, "defaultEndpoint": LOCAL_ENDPOINT}),
    IstioEgressListener: Constraint(
        rules=(
            Rule(
                implies(f"({texts('bind')} || {is_one_of('captureMode', 'NONE')})", "has(self.port)"),
                "a listener that binds an address or captures nothing needs a port",
                "DRG0316",
                ".port",
            ),
        ),
        fields={"hosts": items(EGRESS_HOST, minItems=1), "bind": BIND},
    ),
    OutboundTrafficPolicy: Constraint(fields={"egressProxy": {"required": ["port"]}}),
}
