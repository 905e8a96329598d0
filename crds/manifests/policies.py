"""ValidatingAdmissionPolicies: what CEL can say of an object beyond its schema, by its namespace and name.

They run in the API server itself, so that they hold while no control plane is there. Each is a policy and its binding;
they are for the objects of one revision (`istio.io/rev`), as the admission webhook is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crds.registry import ISTIO_GROUPS

_API = "admissionregistration.k8s.io/v1"
REVISION = "istio.io/rev"


@dataclass(frozen=True, slots=True)
class _Validation:
    expression: str
    message: str


@dataclass(frozen=True, slots=True)
class _Policy:
    name: str
    actions: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]
    validations: tuple[_Validation, ...]


def _kinds(*kinds: str) -> str:
    return f"object.kind in [{', '.join(repr(kind) for kind in kinds)}]"


_SELECTORS = (("selector", "matchLabels"), ("workloadSelector", "labels"), ("workloadSelector", "matchLabels"))


def _labels(selector: tuple[str, str]) -> str:
    field, labels = selector
    path = f"object.spec.{field}"
    return f"(has({path}) && has({path}.{labels}) && size({path}.{labels}) > 0)"


# What Istio promises to keep as it is (Istio: manifests/charts/base, validatingadmissionpolicy.yaml).
_STABLE = _Policy(
    name="dragoman-stable-channel",
    actions=("Deny",),
    variables=(),
    validations=(
        _Validation(
            f"!({_kinds('EnvoyFilter', 'WasmPlugin', 'TrafficExtension', 'ProxyConfig')})",
            "EnvoyFilter, WasmPlugin, TrafficExtension and ProxyConfig are not stable: their API may change",
        ),
        _Validation(
            "object.kind != 'Telemetry' || !has(object.spec.tracing)"
            " || object.spec.tracing.all(each, !has(each.useRequestIdForTraceSampling))",
            "tracing[].useRequestIdForTraceSampling is not stable: it may change",
        ),
        _Validation(
            "object.kind != 'Telemetry' || !has(object.spec.metrics)"
            " || object.spec.metrics.all(each, !has(each.reportingInterval))",
            "metrics[].reportingInterval is not stable: it may change",
        ),
        _Validation(
            "object.kind != 'Telemetry' || !has(object.spec.accessLogging)"
            " || object.spec.accessLogging.all(each, !has(each.filter))",
            "accessLogging[].filter is not stable: it may change",
        ),
    ),
)


def _placement(root_namespace: str) -> _Policy:
    return _Policy(
        name="dragoman-placement",
        actions=("Warn", "Audit"),
        variables=(
            ("root", f"object.metadata.namespace == '{root_namespace}'"),
            ("selects", " || ".join(map(_labels, _SELECTORS))),
        ),
        validations=(
            _Validation(
                "object.kind != 'PeerAuthentication' || !variables.root || !variables.selects",
                "in the root namespace one with a selector has no effect (Istio: ComposePeerAuthentication):"
                " put it into the namespace of the workloads",
            ),
            _Validation(
                f"!({_kinds('Sidecar', 'DestinationRule')}) || !variables.root || !variables.selects",
                "one that selects workloads is for those of its own namespace only, also in the root namespace",
            ),
            _Validation(
                "object.kind != 'ServiceEntry' || !has(object.spec.hosts) || object.spec.hosts.all(host,"
                " !host.matches('^[^.]+[.][^.]+[.]svc([.]|$)') || host.split('.')[1] == object.metadata.namespace)",
                "one of the hosts is that of a service of another namespace, whose traffic would go elsewhere",
            ),
        ),
    )


def admission_policies(
    *, revisions: Sequence[str] = ("default",), unlabelled: bool = True, root_namespace: str = "istio-system"
) -> list[dict[str, Any]]:
    """Every policy, each with its binding.

    `revisions` are the names of the control plane that the policies are for, its revision and tags; with `unlabelled`
    they are for objects without a revision, too.
    """
    return [
        document
        for policy in (_STABLE, _placement(root_namespace))
        for document in _documents(policy, revisions, unlabelled)
    ]


def _documents(policy: _Policy, revisions: Sequence[str], unlabelled: bool) -> list[dict[str, Any]]:
    labelled = f"has(object.metadata.labels) && '{REVISION}' in object.metadata.labels"
    names = ", ".join(f"'{revision}'" for revision in revisions)
    ours = f"({labelled}) ? object.metadata.labels['{REVISION}'] in [{names}] : {str(unlabelled).lower()}"
    name = policy.name if "default" in revisions else f"{policy.name}-{revisions[0]}"
    metadata = {"name": name, "labels": {"app.kubernetes.io/name": "dragoman", "app.kubernetes.io/component": "policy"}}
    return [
        {
            "apiVersion": _API,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": metadata,
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {
                    "resourceRules": [
                        {
                            "apiGroups": sorted(ISTIO_GROUPS),
                            "apiVersions": ["*"],
                            "operations": ["CREATE", "UPDATE"],
                            "resources": ["*"],
                            "scope": "Namespaced",
                        }
                    ]
                },
                "matchConditions": [
                    {"name": "of-this-revision", "expression": ours},
                    # An object from before it had a spec is nobody's fault now.
                    {"name": "with-a-spec", "expression": "has(object.spec)"},
                ],
                **(
                    {"variables": [{"name": name, "expression": text} for name, text in policy.variables]}
                    if policy.variables
                    else {}
                ),
                "validations": [
                    {"expression": validation.expression, "message": validation.message}
                    for validation in policy.validations
                ],
            },
        },
        {
            "apiVersion": _API,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": metadata,
            "spec": {"policyName": name, "validationActions": list(policy.actions)},
        },
    ]
