"""Kubernetes' label selectors (Kubernetes API: meta/v1 LabelSelector)."""

from __future__ import annotations

from collections.abc import Mapping

from dragoman.sidecar.injection.settings import Json


def matches(selector: Mapping[str, Json], labels: Mapping[str, str]) -> bool:
    """Whether `selector` selects `labels`. An empty one selects nothing, as in Istio's injector."""
    equal: Mapping[str, str] = selector.get("matchLabels") or {}
    expressions: list[Mapping[str, Json]] = selector.get("matchExpressions") or []
    if not equal and not expressions:
        return False
    return all(labels.get(key) == value for key, value in equal.items()) and all(
        _holds(expression, labels) for expression in expressions
    )


def _holds(expression: Mapping[str, Json], labels: Mapping[str, str]) -> bool:
    key, values = expression.get("key", ""), expression.get("values") or ()
    match expression.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return key not in labels or labels[key] not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case _:
            return False
