"""When an applied object has become what it was applied for."""

from __future__ import annotations

from typing import Final

from dragoman.installation.objects import Document

WAITED_FOR: Final = frozenset(
    (
        "CustomResourceDefinition",
        "DaemonSet",
        "Deployment",
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
    )
)
"""Kinds that take a while; the others are there as soon as they are stored."""


def missing(document: Document) -> str | None:
    """What an object still lacks, in words; None once it is ready."""
    match document["kind"]:
        case "CustomResourceDefinition":
            return _crd(document)
        case "Deployment":
            return _deployment(document)
        case "DaemonSet":
            return _daemon_set(document)
        case "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration":
            return _webhooks(document)
    return None


def _crd(document: Document) -> str | None:
    # Before its first condition a definition's list of them is null.
    conditions = {each["type"]: each for each in document.get("status", {}).get("conditions") or ()}
    refused = conditions.get("NamesAccepted", {})
    if refused.get("status") == "False":
        return f"its names are not accepted: {refused.get('message', '')}"
    return None if conditions.get("Established", {}).get("status") == "True" else "not established"


def _deployment(document: Document) -> str | None:
    # As `kubectl rollout status` judges it.
    status = document.get("status", {})
    wanted = document["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < document["metadata"]["generation"]:
        return "not seen by its controller"
    for condition in status.get("conditions", ()):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return f"pods cannot be made: {condition.get('message', '')}"
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if updated < wanted:
        return f"{updated} of {wanted} pods made"
    if status.get("replicas", 0) > updated:
        return f"pods of before are still there: {status['replicas'] - updated}"
    return f"{available} of {wanted} pods ready" if available < wanted else None


def _daemon_set(document: Document) -> str | None:
    status = document.get("status", {})
    if status.get("observedGeneration", 0) < document["metadata"]["generation"]:
        return "not seen by its controller"
    wanted = status.get("desiredNumberScheduled", 0)
    updated, available = status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0)
    return f"{min(updated, available)} of {wanted} pods ready" if min(updated, available) < wanted else None


def _webhooks(document: Document) -> str | None:
    without = [each["name"] for each in document["webhooks"] if not each["clientConfig"].get("caBundle")]
    return "the control plane has not given it its root yet" if without else None
