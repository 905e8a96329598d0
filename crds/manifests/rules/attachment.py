"""Selectors and targets of policies, and visibility."""

from collections.abc import Mapping

import msgspec

from crds.manifests.cel import count, given, lists
from crds.manifests.constraint import Constraint, Rule, rules
from crds.manifests.patterns import LABEL_VALUES
from crds.selector import NetworkingWorkloadSelector, WorkloadSelector
from crds.targetref import PolicyTargetReference

_TARGETS = (
    "gateway.networking.k8s.io/Gateway",
    "gateway.networking.k8s.io/GatewayClass",
    "networking.istio.io/ServiceEntry",
    "/Service",
    "core/Service",
)
_LISTED = ", ".join(f"'{target}'" for target in _TARGETS)

ONE_ATTACHMENT = Rule(
    f"{count(given('selector'), given('targetRef'), lists('targetRefs'))} <= 1",
    "selector, targetRef and targetRefs exclude each other: keep one of them",
    "DRG0307",
)
ALONE = Rule(
    "!has(self.exportTo) || size(self.exportTo) <= 1 || !('*' in self.exportTo || '~' in self.exportTo)",
    "* and ~ exclude every other entry of exportTo: keep one or the other",
    "DRG0311",
    ".exportTo",
)

SELECTED = {
    **LABEL_VALUES,
    **rules(
        Rule(
            "self.all(key, key != '' && !key.contains('*'))",
            "a selector knows no wildcards and no empty key: write whole labels",
            "DRG0312",
        )
    ),
}

CONSTRAINTS: Mapping[type[msgspec.Struct], Constraint] = {
    WorkloadSelector: Constraint(fields={"matchLabels": SELECTED}),
    NetworkingWorkloadSelector: Constraint(fields={"labels": SELECTED}),
    PolicyTargetReference: Constraint(
        rules=(
            Rule(
                f"((has(self.group) ? self.group : '') + '/' + self.kind) in [{_LISTED}]",
                "a target is a Gateway or GatewayClass of gateway.networking.k8s.io, a ServiceEntry or a Service",
                "DRG0314",
            ),
            Rule(
                "!has(self.__namespace__) || self.__namespace__ == ''",
                "targets are in the policy's own namespace: remove it",
                "DRG0311",
                ".namespace",
            ),
        )
    ),
}
