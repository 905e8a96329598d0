"""EnvoyFilter, Telemetry, WasmPlugin, TrafficExtension: see the modules of these names in `crds.validate`."""

from collections.abc import Mapping

import msgspec

from crds.envoyfilter import (
    ApplyTo,
    EnvoyConfigObjectPatch,
    EnvoyFilterSpec,
    Operation,
    Patch,
    ProxyMatch,
)
from crds.manifests.cel import given, is_one_of, lists, not_both, texts
from crds.manifests.constraint import Constraint, Rule, rules
from crds.manifests.patterns import NOT_EMPTY
from crds.manifests.rules.attachment import ONE_ATTACHMENT
from crds.telemetry import AccessLogging, CustomTag, MetricSelector, TagOverride, TelemetrySpec
from crds.trafficextension import TrafficExtensionSpec, WasmConfig
from crds.validate.envoyfilter import MATCHES
from crds.wasm import EnvVar, TrafficSelector, VmConfig
from crds.wasmplugin import WasmPluginSpec

_MODULE = rules(
    Rule(
        "!self.contains('://') || ['http', 'https', 'file', 'oci'].exists(scheme, self.startsWith(scheme + '://'))",
        "the scheme of a module is oci, http, https or file",
        "DRG0314",
    )
)
_REMOVES = is_one_of("operation", "REMOVE")
_MATCH_RULES = tuple(
    Rule(
        f"!has(self.match) || !has(self.match.{name}) || self.applyTo in"
        f" [{', '.join(repr(str(kind)) for kind in sorted(kinds))}]",
        f"match.{name} does not select what the patch applies to",
        "DRG0311",
        f".match.{name}",
    )
    for name, kinds in MATCHES.items()
)

CONSTRAINTS: Mapping[type[msgspec.Struct], Constraint] = {
    EnvoyFilterSpec: Constraint(
        rules=(
            Rule(
                not_both(given("workloadSelector"), lists("targetRefs")),
                "workloadSelector and targetRefs exclude each other: keep one of them",
                "DRG0307",
            ),
        )
    ),
    EnvoyConfigObjectPatch: Constraint(
        rules=_MATCH_RULES,
        required=("applyTo", "patch"),
        fields={"applyTo": {"enum": [str(kind) for kind in ApplyTo if kind is not ApplyTo.INVALID]}},
    ),
    Patch: Constraint(
        rules=(
            Rule("has(self.value) || self.operation == 'REMOVE'", "the operation needs a value", "DRG0316", ".value"),
        ),
        required=("operation",),
        fields={"operation": {"enum": [str(kind) for kind in Operation if kind is not Operation.INVALID]}},
    ),
    ProxyMatch: Constraint(fields={"proxyVersion": {"maxLength": 1024}}),
    TelemetrySpec: Constraint(rules=(ONE_ATTACHMENT,)),
    CustomTag: Constraint(whole={"maxProperties": 1}),
    MetricSelector: Constraint(
        rules=(
            Rule(
                "!has(self.customMetric) || !has(self.metric) || self.metric == 'ALL_METRICS'",
                "metric and customMetric exclude each other",
                "DRG0307",
            ),
        )
    ),
    TagOverride: Constraint(
        rules=(
            Rule(f"{_REMOVES} || {texts('value')}", "UPSERT needs a value: a CEL expression", "DRG0316", ".value"),
            Rule(not_both(_REMOVES, texts("value")), "REMOVE takes no value: remove it", "DRG0311", ".value"),
        )
    ),
    AccessLogging: Constraint(fields={"filter": {"required": ["expression"], "properties": {"expression": NOT_EMPTY}}}),
    WasmPluginSpec: Constraint(rules=(ONE_ATTACHMENT,), fields={"url": _MODULE}),
    WasmConfig: Constraint(fields={"url": _MODULE}),
    TrafficExtensionSpec: Constraint(
        rules=(
            Rule(
                not_both(given("selector"), lists("targetRefs")),
                "selector and targetRefs exclude each other: keep one of them",
                "DRG0307",
            ),
            Rule("has(self.wasm) != has(self.lua)", "an extension is one of wasm and lua", "DRG0307"),
        )
    ),
    VmConfig: Constraint(fields={"env": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}}),
    EnvVar: Constraint(
        rules=(
            Rule(
                not_both(is_one_of("valueFrom", "HOST"), texts("value")),
                "HOST takes the proxy's own variable: remove the value",
                "DRG0311",
                ".value",
            ),
        )
    ),
    TrafficSelector: Constraint(
        fields={"ports": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["number"]}}
    ),
}
