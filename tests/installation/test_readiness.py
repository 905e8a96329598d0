"""What an applied object still lacks."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.installation.readiness import missing


def deployment(replicas: int = 2, generation: int = 3, **status: Any) -> dict[str, Any]:
    return {
        "kind": "Deployment",
        "metadata": {"generation": generation},
        "spec": {"replicas": replicas},
        "status": {"observedGeneration": generation, **status},
    }


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (deployment(updatedReplicas=2, availableReplicas=2, replicas_=2), None),
        (deployment(observedGeneration=2, updatedReplicas=2, availableReplicas=2), "not seen by its controller"),
        (deployment(updatedReplicas=1, availableReplicas=2), "1 of 2 pods made"),
        (deployment(updatedReplicas=2, availableReplicas=1), "1 of 2 pods ready"),
        (
            deployment(conditions=[{"type": "ReplicaFailure", "status": "True", "message": "forbidden"}]),
            "pods cannot be made: forbidden",
        ),
        ({"kind": "CustomResourceDefinition"}, "not established"),
        (
            {"kind": "CustomResourceDefinition", "status": {"conditions": [{"type": "Established", "status": "True"}]}},
            None,
        ),
        (
            {
                "kind": "CustomResourceDefinition",
                "status": {"conditions": [{"type": "NamesAccepted", "status": "False", "message": "taken"}]},
            },
            "its names are not accepted: taken",
        ),
        (
            {"kind": "MutatingWebhookConfiguration", "webhooks": [{"name": "a", "clientConfig": {}}]},
            "the control plane has not given it its root yet",
        ),
        (
            {"kind": "MutatingWebhookConfiguration", "webhooks": [{"name": "a", "clientConfig": {"caBundle": "x"}}]},
            None,
        ),
        (
            {
                "kind": "DaemonSet",
                "metadata": {"generation": 1},
                "status": {
                    "observedGeneration": 1,
                    "desiredNumberScheduled": 3,
                    "updatedNumberScheduled": 3,
                    "numberAvailable": 2,
                },
            },
            "2 of 3 pods ready",
        ),
        ({"kind": "Service"}, None),
    ],
)
def test_says_what_is_missing(document: dict[str, Any], expected: str | None) -> None:
    assert missing(document) == expected


def test_pods_of_before_are_waited_for() -> None:
    document = deployment(updatedReplicas=2, availableReplicas=2)
    document["status"]["replicas"] = 3
    assert missing(document) == "pods of before are still there: 1"
