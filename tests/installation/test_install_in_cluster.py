"""Installing in a real API server: order, waiting, upgrades, what is left. Pods become ready by their status alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from documents import all_of, one, rendered

from crds.meshconfig import parse
from dragoman.installation.bundle import MANAGER, Bundle
from dragoman.installation.findings import Level
from dragoman.installation.installer import Installer, InstallError
from dragoman.installation.inventory import Inventory, all_stored
from dragoman.installation.objects import RESOURCES, Identity, identity
from dragoman.installation.precheck import precheck
from dragoman.installation.removal import uninstall
from dragoman.kube import ApiError, Cluster
from dragoman.kube.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    LEASES,
    NAMESPACES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
)
from dragoman.sidecar.injection import Injected, NamespaceFacts, inject
from dragoman.sidecar.injection.config_map import settings_of
from tests.support.api_server import ApiServer
from tests.support.until import until

pytestmark = pytest.mark.real_api

WEBHOOKS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
OTHERS_KINDS = ("ServiceMonitor", "PodMonitor", "PrometheusRule")


def values(**more: Any) -> dict[str, Any]:
    return {"pilot": {"autoscaleEnabled": False, "replicaCount": 1}} | more


@contextlib.asynccontextmanager
async def control_plane(cluster: Cluster, namespace: str) -> AsyncIterator[None]:
    """Stands in for kubelet and control plane: pods are ready, and webhooks get a root."""

    async def look() -> None:
        for pod in await cluster.list(PODS, namespace):
            if pod["status"]["phase"] == "Pending":
                status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
                await cluster.patch(PODS, pod["metadata"]["name"], {"status": status}, namespace, subresource="status")
        for kind in WEBHOOKS:
            for each in await cluster.list(RESOURCES[kind]):
                for index, webhook in enumerate(each["webhooks"]):
                    service = webhook["clientConfig"].get("service", {})
                    if service.get("namespace") == namespace and "caBundle" not in webhook["clientConfig"]:
                        path = f"/webhooks/{index}/clientConfig/caBundle"
                        patch = [{"op": "add", "path": path, "value": ROOT}]
                        await cluster.patch(RESOURCES[kind], each["metadata"]["name"], patch, kind="json")

    async def run() -> None:
        while True:
            with contextlib.suppress(ApiError):  # what was listed may be gone
                await look()
            await asyncio.sleep(0.05)

    running = asyncio.create_task(run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


ROOT = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJmVENDQVNPZ0F3SUJBZ0lVVGVzdDAKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo="


async def install(cluster: Cluster, bundle: Bundle, wait_seconds: float | None = 120) -> list[str]:
    told: list[str] = []
    await Installer(cluster, told.append, wait_seconds=wait_seconds).install(bundle)
    return told


async def remove(cluster: Cluster, revision: str, namespace: str) -> list[str]:
    told: list[str] = []
    everything = await all_stored(cluster, namespace)
    gone = [each for each in everything if each.revision == revision]
    staying = [each for each in everything if each.revision != revision]
    await uninstall(cluster, gone, staying, told.append, wait_seconds=120)
    return told


async def there(cluster: Cluster, what: Identity) -> dict[str, Any] | None:
    try:
        return await cluster.get(what.resource, what.name, what.namespace or None)
    except ApiError as error:
        if not error.not_found:
            raise
    return None


@pytest.fixture
async def mesh(cluster: Cluster, namespace: str) -> AsyncIterator[str]:
    """A namespace for control planes; everything of theirs is taken away after the test."""
    async with control_plane(cluster, namespace):
        yield namespace
        for revision in [each.revision for each in await all_stored(cluster, namespace)]:
            await remove(cluster, revision, namespace)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"gateways": {"edge": {}, "inner": {"kind": "DaemonSet"}}, "cni": {"enabled": True}},
        {"revision": "canary", "revisionTags": ["prod"], "sidecarInjectorWebhook": {"enableNamespacesByDefault": True}},
    ],
    ids=["plain", "gateways", "revision"],
)
async def test_the_api_server_takes_every_field(cluster: Cluster, namespace: str, more: dict[str, Any]) -> None:
    for document in rendered(namespace, **more).documents:
        if document["kind"] not in ("Namespace", *OTHERS_KINDS):
            await cluster.apply(identity(document).resource, document, field_manager="test", dry_run=True)


async def test_pods_are_admitted_where_pod_security_is_restricted(cluster: Cluster, namespace: str) -> None:
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    await cluster.patch(NAMESPACES, namespace, label)
    for deployment in all_of(rendered(namespace, gateways={"edge": {}}), "Deployment"):
        template = deployment["spec"]["template"]
        account = {"metadata": {"name": template["spec"]["serviceAccountName"]}}
        await cluster.create(SERVICE_ACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", **account}, namespace)
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labels": template["metadata"]["labels"]}}
        await cluster.create(PODS, pod | {"spec": template["spec"]}, namespace, dry_run=True)


@pytest.mark.parametrize("kind", ["gateway", "application"])
async def test_injected_pods_are_admitted_where_pod_security_is_restricted(
    cluster: Cluster, namespace: str, kind: str
) -> None:
    """Gateways as they are, applications where the node captures their traffic."""
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    await cluster.patch(NAMESPACES, namespace, label)
    bundle = rendered(namespace, gateways={"default": {}}, cni={"enabled": True})
    mesh = parse(one(bundle, "ConfigMap", "istio")["data"]["mesh"])
    data = one(bundle, "ConfigMap", "istio-sidecar-injector")["data"]
    settings = settings_of(data, drain_secret=bytes(32), mesh=mesh)
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": namespace}}
    if kind == "gateway":
        template = one(bundle, "Deployment", "default")["spec"]["template"]
        pod |= {"metadata": {**pod["metadata"], **template["metadata"]}, "spec": template["spec"]}
    else:
        security = {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        pod["spec"] = {"containers": [{"name": "web", "image": "web", "securityContext": security}]}
        pod["metadata"]["labels"] = {"sidecar.istio.io/inject": "true"}
    injected = inject(pod, namespace=NamespaceFacts(namespace), settings=settings)
    assert isinstance(injected, Injected)
    await cluster.create(PODS, injected.pod, namespace, dry_run=True)


async def test_everything_is_there_and_ready_once_it_is_said(cluster: Cluster, mesh: str) -> None:
    bundle = rendered(mesh, **values())
    told = await install(cluster, bundle)
    for document in bundle.documents:
        assert await there(cluster, identity(document)) is not None
    assert (await cluster.get(DEPLOYMENTS, "istiod", mesh))["status"]["availableReplicas"] == 1
    assert any("waiting for Deployment" in line for line in told)
    webhooks = [index for index, line in enumerate(told) if line.startswith("webhooks")]
    assert [index for index, line in enumerate(told) if "waiting for Deployment" in line][-1] < webhooks[0]


async def test_the_same_again_changes_nothing(cluster: Cluster, mesh: str) -> None:
    bundle = rendered(mesh, **values())
    await install(cluster, bundle)

    async def generations() -> dict[Identity, Any]:
        return {
            each: [
                (document["metadata"].get("generation"), field["time"])
                for field in document["metadata"]["managedFields"]
                if field["manager"] == MANAGER
            ]
            for each in map(identity, bundle.documents)
            # An API server writes it anew when it is applied without its status, which is not ours.
            if each.kind != "ValidatingAdmissionPolicy" and (document := await there(cluster, each)) is not None
        }

    before = await generations()
    await install(cluster, bundle)
    assert await generations() == before


async def test_what_is_no_longer_rendered_goes(cluster: Cluster, mesh: str) -> None:
    await install(
        cluster, rendered(mesh, **values(gateways={"edge": {"autoscaling": {"enabled": False}, "replicaCount": 0}}))
    )
    budget, edge = Identity("PodDisruptionBudget", mesh, "istiod"), Identity("Deployment", mesh, "edge")
    assert await there(cluster, budget)
    assert await there(cluster, edge)
    pilot = {"autoscaleEnabled": False, "replicaCount": 1, "podDisruptionBudget": {"enabled": False}}
    await install(cluster, rendered(mesh, **values(pilot=pilot)))
    assert await there(cluster, budget) is None
    assert await there(cluster, edge) is None
    assert await there(cluster, Identity("Service", mesh, "istiod"))


async def test_what_broke_off_is_known_and_goes_too(cluster: Cluster, mesh: str) -> None:
    bundle = rendered(mesh, **values(monitoring={"serviceMonitor": {"enabled": True}}))
    with pytest.raises(InstallError, match="install the Prometheus operator"):
        await install(cluster, bundle)
    await install(cluster, rendered(mesh, **values()))
    await remove(cluster, "default", mesh)
    assert await there(cluster, Identity("ClusterRole", "", f"istiod-{mesh}")) is None


async def test_says_what_it_waited_for_in_vain(cluster: Cluster, namespace: str) -> None:
    # Nobody makes the pods ready.
    with pytest.raises(InstallError, match=r"not ready in time: Deployment .*/istiod: 0 of 1 pods ready"):
        await install(cluster, rendered(namespace, **values()), wait_seconds=2)
    await remove_unready(cluster, namespace)


async def remove_unready(cluster: Cluster, namespace: str) -> None:
    async with control_plane(cluster, namespace):
        await remove(cluster, "default", namespace)


async def test_a_webhook_that_came_to_fail_closed_stays_so(cluster: Cluster, mesh: str) -> None:
    await install(cluster, rendered(mesh, **values()))
    name = f"istio-validator-{mesh}"
    patch = [{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Fail"}]
    await cluster.patch(VALIDATING_WEBHOOK_CONFIGURATIONS, name, patch, kind="json")
    await install(cluster, rendered(mesh, **values(validationWebhook={"timeoutSeconds": 7})))
    webhooks = (await cluster.get(VALIDATING_WEBHOOK_CONFIGURATIONS, name))["webhooks"]
    assert [(each["failurePolicy"], each["timeoutSeconds"]) for each in webhooks] == [("Fail", 7), ("Ignore", 7)]
    assert all(each["clientConfig"]["caBundle"] == ROOT for each in webhooks)


async def test_a_control_plane_of_others_is_not_taken_over(cluster: Cluster, namespace: str) -> None:
    document = one(rendered(namespace, **values()), "Deployment")
    del document["metadata"]["labels"]["app.kubernetes.io/managed-by"]
    await cluster.create(DEPLOYMENTS, document)
    with pytest.raises(InstallError, match="was not installed by this command"):
        await install(cluster, rendered(namespace, **values()))
    assert await there(cluster, Identity("ServiceAccount", namespace, "istiod")) is None
    findings = await precheck(cluster, rendered(namespace, **values()))
    assert "another control plane has this name" in findings[0].message
    await cluster.delete(DEPLOYMENTS, "istiod", namespace)


async def test_uninstalling_leaves_nothing(cluster: Cluster, mesh: str) -> None:
    before = await everything(cluster, mesh)
    await install(
        cluster, rendered(mesh, **values(gateways={"edge": {"autoscaling": {"enabled": False}, "replicaCount": 0}}))
    )
    made = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "istio-ca-secret"}}
    await cluster.create(SECRETS, made, mesh)
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "dragoman-leader"}}
    await cluster.create(LEASES, lease, mesh)
    roots = {"name": "istio-ca-root-cert", "labels": {"istio.io/config": "true"}}
    await cluster.create(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": roots}, mesh)
    await cluster.patch(NAMESPACES, mesh, {"metadata": {"labels": {"istio-injection": "enabled"}}})
    assert f"  namespace {mesh} still asks for sidecars of revision default" in await remove(cluster, "default", mesh)
    assert await everything(cluster, mesh) == before


async def everything(cluster: Cluster, namespace: str) -> set[tuple[str, str]]:
    """What is in a namespace, and what is in the cluster by its name."""
    kinds = [*RESOURCES.values(), SECRETS, LEASES, PODS]
    found = set()
    for resource in kinds:
        if resource.kind not in OTHERS_KINDS:
            for each in await cluster.list(resource, namespace):
                if resource.namespaced or namespace in each["metadata"]["name"]:
                    found.add((resource.kind, each["metadata"]["name"]))
    # Made by a controller of the cluster, some time after the namespace.
    return found - {("ConfigMap", "kube-root-ca.crt")}


async def test_a_revision_goes_without_what_others_need(cluster: Cluster, mesh: str) -> None:
    await install(cluster, rendered(mesh, **values(revision="old", revisionTags=["prod"])))
    await install(cluster, rendered(mesh, **values(revision="new", revisionTags=["prod"])))
    made = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "istio-ca-secret"}}
    await cluster.create(SECRETS, made, mesh)
    await remove(cluster, "old", mesh)
    tag = await there(cluster, Identity("MutatingWebhookConfiguration", "", f"istio-revision-tag-prod-{mesh}"))
    assert tag is not None
    assert tag["metadata"]["labels"]["istio.io/rev"] == "new"
    assert await cluster.get(SECRETS, "istio-ca-secret", mesh)
    assert await there(cluster, Identity("Deployment", mesh, "istiod-old")) is None
    assert await there(cluster, Identity("Deployment", mesh, "istiod-new"))


async def test_a_namespace_that_was_made_goes_unless_others_use_it(cluster: Cluster, namespace: str) -> None:
    own = f"{namespace}-own"
    async with control_plane(cluster, own):
        await install(cluster, rendered(own, **values()))
        await cluster.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine"}}, own)
        assert f"  the namespace {own} stays: Secret mine and perhaps more are not ours" in await remove(
            cluster, "default", own
        )
        await cluster.delete(SECRETS, "mine", own)
        await install(cluster, rendered(own, **values()))
        # Somebody else's now: it was there before.
        await remove(cluster, "default", own)
        assert "deletionTimestamp" not in (await cluster.get(NAMESPACES, own))["metadata"]
        await cluster.delete(NAMESPACES, own)
        second = f"{namespace}-second"
    async with control_plane(cluster, second):
        await install(cluster, rendered(second, **values()))
        assert f"  deleted Namespace {second}" in await remove(cluster, "default", second)


async def test_precheck_says_which_rights_are_lacking(api_server: ApiServer, cluster: Cluster, namespace: str) -> None:
    bundle = rendered(namespace, **values())
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": namespace}}
    rules = [
        {"apiGroups": ["", "apps"], "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["*"], "verbs": ["*"]},
    ]
    # `*` of the verbs has `escalate` in it, which this is about.
    rules[1]["verbs"] = ["get", "list", "create", "patch", "delete"]
    await cluster.create(RESOURCES["ClusterRole"], role | {"rules": rules})
    binding = role | {
        "kind": "ClusterRoleBinding",
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": namespace},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": namespace}],
    }
    await cluster.create(RESOURCES["ClusterRoleBinding"], binding)
    errors: list[str] = []

    async def rights_are_heard_of() -> bool:
        """The API server judges by the roles that it watches, and hears of new ones after they are stored."""
        errors[:] = [each.message for each in await precheck(few, bundle) if each.level is Level.ERROR]
        return not any("deployments.apps" in each or "configmaps" in each for each in errors if "not allowed" in each)

    async with await Cluster.connect(api_server.user(namespace)) as few:
        await until(rights_are_heard_of)
    resource = "mutatingwebhookconfigurations.admissionregistration.k8s.io"
    assert f"not allowed: get, create, patch, delete {resource}" in errors
    # What the control plane is given, only who has it can give.
    assert any("attempting to grant RBAC permissions not currently held" in each for each in errors)
    await cluster.delete(RESOURCES["ClusterRoleBinding"], namespace)
    await cluster.delete(RESOURCES["ClusterRole"], namespace)


async def test_a_cluster_with_nothing_in_it_is_fit(cluster: Cluster, namespace: str) -> None:
    findings = await precheck(cluster, rendered(namespace, **values()))
    assert [str(each) for each in findings if each.level is not Level.OK] == []


def test_an_inventory_leaves_alone_what_it_does_not_know() -> None:
    from dragoman.installation.inventory import inventory_of

    known = Identity("Service", "a", "b")
    stored = Inventory("a", "default", frozenset((known, Identity("FutureKind", "a", "c"))), made_namespace=True)
    assert inventory_of(stored.document()) == Inventory("a", "default", frozenset((known,)), made_namespace=True)
