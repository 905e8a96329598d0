"""Rights that were taken from an installed control plane are found."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.installation.bundle import Bundle, Component, Part
from dragoman.installation.findings import Finding, Level
from dragoman.installation.held_rights import held_rights
from dragoman.installation.objects import identity
from dragoman.kube import Cluster
from dragoman.kube.resources import SERVICE_ACCOUNTS
from tests.support.until import until

pytestmark = pytest.mark.real_api

RULES = [
    {"apiGroups": ["networking.istio.io"], "resources": ["sidecars", "sidecars/status"], "verbs": ["get", "watch"]},
    {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["roots"], "verbs": ["update"]},
]


def bundle_of(namespace: str) -> Bundle:
    """An account with a role, all of names that no other test has."""
    rbac = "rbac.authorization.k8s.io"
    reference = {"apiGroup": rbac, "kind": "ClusterRole", "name": namespace}
    subject = {"kind": "ServiceAccount", "name": "istiod", "namespace": namespace}
    documents: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "istiod", "namespace": namespace}},
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": namespace}, "rules": RULES},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": namespace},
            "roleRef": reference,
            "subjects": [subject],
        },
    ]
    return Bundle(namespace, "default", tuple(Part(Component.CONTROL_PLANE, each) for each in documents))


async def test_only_what_an_account_lacks_is_told(cluster: Cluster, namespace: str) -> None:
    bundle = bundle_of(namespace)
    _, role, binding = bundle.documents

    async def told() -> list[Finding]:
        return [found async for found in held_rights(cluster, bundle)]

    async def nothing_lacks() -> bool:
        return not await told()

    async def something_lacks() -> bool:
        return bool(await told())

    assert await told() == [], "nothing is installed"
    for document in bundle.documents:
        await cluster.apply(identity(document).resource, document)
    await cluster.get(SERVICE_ACCOUNTS, "istiod", namespace)
    try:
        # The API server judges by the roles that it watches, and hears of a change after it is stored.
        await until(nothing_lacks)
        lesser = [{**RULES[0], "verbs": ["get"]}, {**RULES[1], "resourceNames": ["others"]}]
        await cluster.patch(identity(role).resource, namespace, {"rules": lesser})
        await until(something_lacks)
        found = await told()
    finally:
        await cluster.delete(identity(binding).resource, namespace)
        await cluster.delete(identity(role).resource, namespace)
    assert {each.level for each in found} == {Level.WARNING}
    assert [each.message for each in found] == [
        f"{namespace}/istiod is not allowed: watch sidecars.networking.istio.io",
        f"{namespace}/istiod is not allowed: watch sidecars/status.networking.istio.io",
        f"{namespace}/istiod is not allowed: update configmaps roots",
    ]
