"""What a policy is attached to: a selector, or references to targets, not both."""

from collections.abc import Iterator

from crds.codes import problem
from crds.problem import Problem
from crds.selector import NetworkingWorkloadSelector, WorkloadSelector
from crds.targetref import PolicyTargetReference
from crds.validate.names import labels

_TARGETS = frozenset(
    (
        ("gateway.networking.k8s.io", "Gateway"),
        ("gateway.networking.k8s.io", "GatewayClass"),
        ("networking.istio.io", "ServiceEntry"),
        ("", "Service"),
        ("core", "Service"),
    )
)


def selector(held: WorkloadSelector | None, path: str = "spec.selector") -> Iterator[Problem]:
    if held is not None:
        yield from _selected(held.match_labels, f"{path}.matchLabels")


def networking_selector(held: NetworkingWorkloadSelector | None, path: str) -> Iterator[Problem]:
    if held is not None:
        yield from _selected(held.labels, f"{path}.labels")


def _selected(values: dict[str, str], path: str) -> Iterator[Problem]:
    for key, value in values.items():
        if "*" in key or "*" in value:
            yield problem("DRG0312", f"{path}[{key}]", "a selector knows no wildcards", "write the whole value")
    yield from labels({key: value for key, value in values.items() if "*" not in key + value}, path)


def policy(
    selected: WorkloadSelector | None,
    target_ref: PolicyTargetReference | None,
    target_refs: tuple[PolicyTargetReference, ...],
) -> Iterator[Problem]:
    """The attachment of a policy (Istio: validateOneOfSelectorType, validatePolicyTargetReferences)."""
    given = [
        name
        for name, held in (("selector", selected), ("targetRef", target_ref), ("targetRefs", target_refs or None))
        if held is not None
    ]
    if len(given) > 1:
        yield problem("DRG0307", "spec", f"{' and '.join(given)} exclude each other", "keep one of them")
    yield from selector(selected)
    if target_ref is not None:
        yield from _target(target_ref, "spec.targetRef")
    for index, reference in enumerate(target_refs):
        yield from _target(reference, f"spec.targetRefs[{index}]")


def _target(reference: PolicyTargetReference, path: str) -> Iterator[Problem]:
    if (reference.group or "", reference.kind) not in _TARGETS:
        yield problem(
            "DRG0314", path, f"{reference.kind} of group {reference.group or 'core'!r} is no target of policies"
        )
    if reference.namespace:
        yield problem("DRG0311", f"{path}.namespace", "targets are in the policy's own namespace", "remove it")
