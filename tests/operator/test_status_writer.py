"""What operators read on objects of a real API server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from operating import (
    AT_ONCE,
    Cut,
    apply,
    condition,
    conditions_in,
    deploy,
    istio,
    replica,
    resource_of,
    rule,
    taking,
)

from crds.meta import ObjectKey, ObjectMeta
from dragoman.kube import ApiResource, Cluster
from dragoman.kube.resources import EVENTS
from dragoman.operator.events import Events
from dragoman.runtime.conditions import Condition
from tests.support.api_server import ApiServer
from tests.support.until import until

pytestmark = [pytest.mark.real_api, pytest.mark.usefixtures("custom_resources")]

RULE = "DestinationRule"
ROLES = ApiResource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)
BINDINGS = ApiResource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False)


def routes(namespace: str, name: str, **http: Any) -> dict[str, Any]:
    spec = {"hosts": ["web"], "http": [{"route": [{"destination": {"host": "web"}}], **http}]}
    return istio("VirtualService", namespace, name, spec)


async def events(cluster: Cluster, namespace: str, name: str) -> list[dict[str, Any]]:
    return [each for each in await cluster.list(EVENTS, namespace) if each["regarding"]["name"] == name]


async def test_from_applied_to_programmed(cluster: Cluster, namespace: str) -> None:
    await deploy(cluster, namespace, "web-1")
    async with replica(cluster, namespace, "one") as one:
        proxy = await one.proxy("web-1")
        await apply(cluster, rule(namespace, 1))
        pending = await condition(cluster, RULE, namespace, "web", "Programmed", status="False", reason="Pending")
        assert pending["message"] == f"0/1 proxies have accepted it; waiting for web-1.{namespace}"
        await condition(cluster, RULE, namespace, "web", "Accepted", status="True")
        assert proxy.take()
        done = await condition(cluster, RULE, namespace, "web", "Programmed", status="True")
        assert done["reason"] == "Programmed"
        assert done["message"].startswith("1/1 proxies have accepted it")
        before = await cluster.get(resource_of(RULE), "web", namespace)
        managers = {entry["manager"] for entry in before["metadata"]["managedFields"]}
        assert managers == {"kubectl", "dragoman"}

        # What the status brought about reached no proxy, and is not written twice.
        await asyncio.sleep(4 * AT_ONCE.recount)
        assert proxy.take() == []
        after = await cluster.get(resource_of(RULE), "web", namespace)
        assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]

        await apply(cluster, rule(namespace, 2))
        proxy.close()
        unused = await condition(cluster, RULE, namespace, "web", "Programmed", status="True", reason="NotUsed")
        assert unused["lastTransitionTime"] >= done["lastTransitionTime"]


async def test_a_broken_version_its_event_and_its_repair(cluster: Cluster, namespace: str) -> None:
    bad = routes(namespace, "web", match=[{"uri": {"regex": "("}}])
    async with replica(cluster, namespace, "one"):
        await apply(cluster, bad)
        refused = await condition(cluster, "VirtualService", namespace, "web", "Accepted", status="False")
        assert refused["message"].startswith("DRG0306 spec.http[0].match[0].uri.regex")
        nowhere = await condition(cluster, "VirtualService", namespace, "web", "Programmed", status="False")
        assert nowhere["reason"] == "NotAccepted"
        await apply(cluster, routes(namespace, "web", timeout="3s"))
        await condition(cluster, "VirtualService", namespace, "web", "Accepted", status="True")
        await apply(cluster, bad)
        kept = await condition(cluster, "VirtualService", namespace, "web", "Accepted", status="False")
        assert kept["message"].endswith("; the last good version (generation 2) stays in force")
        # Back to what is in force already: no change to any proxy, and yet another answer.
        await apply(cluster, routes(namespace, "web", timeout="3s"))
        await condition(cluster, "VirtualService", namespace, "web", "Accepted", status="True")

        async def told() -> bool:
            return bool(await events(cluster, namespace, "web"))

        await until(told)
        found = await events(cluster, namespace, "web")
    assert {(event["reason"], event["type"]) for event in found} == {("Invalid", "Warning")}
    assert refused["message"] in {event["note"] for event in found}
    assert found[0]["regarding"]["kind"] == "VirtualService"


async def test_losers_winners_and_what_has_no_effect(cluster: Cluster, namespace: str) -> None:
    await deploy(cluster, namespace)
    async with replica(cluster, namespace, "one"):
        await apply(cluster, routes(namespace, "a"))
        await condition(cluster, "VirtualService", namespace, "a", "Accepted", status="True")
        await asyncio.sleep(1.1)  # ages are of whole seconds
        delegate = {"delegate": {"name": "elsewhere"}}
        spec = {"hosts": ["web"], "http": [delegate]}
        await apply(cluster, istio("VirtualService", namespace, "b", spec))
        lost = await condition(cluster, "VirtualService", namespace, "b", "Conflicted", status="True")
        host = f"web.{namespace}.svc.cluster.local"
        assert lost["message"] == f"host {host!r}: VirtualService {namespace}/a is older and wins"
        partly = await condition(cluster, "VirtualService", namespace, "b", "PartiallySupported", status="True")
        assert "spec.http[0].delegate" in partly["message"]
        document = await cluster.get(resource_of("VirtualService"), "b", namespace)
        assert document["status"]["validationMessages"][0]["type"]["code"].startswith("DRG02")

        await cluster.delete(resource_of("VirtualService"), "a", namespace)

        async def no_conflict() -> bool:
            return "Conflicted" not in conditions_in(await cluster.get(resource_of("VirtualService"), "b", namespace))

        await until(no_conflict)


async def test_replicas_pool_what_each_of_them_knows(cluster: Cluster, namespace: str) -> None:
    await deploy(cluster, namespace, "web-1", "web-2")
    async with replica(cluster, namespace, "one") as one, replica(cluster, namespace, "two") as two:
        here, there = await one.proxy("web-1"), await two.proxy("web-2")
        async with taking(here, there):
            await apply(cluster, rule(namespace, 1))

            async def by_all() -> bool:
                done = await condition(cluster, RULE, namespace, "web", "Programmed", status="True")
                return bool(done["message"].startswith("2/2 proxies"))

            await until(by_all)  # who leads may not have heard of the other yet

        await apply(cluster, rule(namespace, 2))
        async with taking(here):
            half = f"1/2 proxies have accepted it; waiting for web-2.{namespace}"
            await condition(cluster, RULE, namespace, "web", "Programmed", status="False", message=half)
        async with taking(there):
            await condition(cluster, RULE, namespace, "web", "Programmed", status="True")

        async with taking(here, there, rejects={f"outbound|80||web.{namespace}.svc.cluster.local": "no"}):
            await apply(cluster, rule(namespace, 3))

            async def by_both() -> bool:
                said = await condition(cluster, RULE, namespace, "web", "Programmed", reason="Rejected")
                return bool(said["message"].endswith("; 0/2 proxies have accepted it"))

            await until(by_both)


async def test_the_leader_dies_while_a_change_is_on_its_way(
    cluster: Cluster, namespace: str, api_server: ApiServer
) -> None:
    await deploy(cluster, namespace, "web-1")
    async with await Cut.connect(api_server.kubeconfig) as cut, replica(cut, namespace, "first") as first:

        async def leads() -> bool:
            return first.election.leads

        await until(leads)
        async with replica(cluster, namespace, "second") as second:
            proxy = await second.proxy("web-1")
            await apply(cluster, rule(namespace, 1))
            await condition(cluster, RULE, namespace, "web", "Programmed", status="False", reason="Pending")
            assert first.election.leads
            cut.cut = True
            proxy.take()
            # Nobody says so before the first has stopped to lead by its own clock; then the second does.
            await condition(cluster, RULE, namespace, "web", "Programmed", status="True")
            assert second.election.leads
            assert not first.election.leads


@pytest.mark.parametrize("shared", [True, False])
async def test_another_field_manager(
    cluster: Cluster, namespace: str, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dragoman.operator.status_writer.is_shared", lambda definition: shared)
    async with replica(cluster, namespace, "one"):
        await apply(cluster, rule(namespace, 1))
        await condition(cluster, RULE, namespace, "web", "Accepted", status="True")
        theirs = [
            {"type": "Reconciled", "status": "True"},
            {"type": "Accepted", "status": "False", "reason": "Mine", "observedGeneration": 2},
        ]
        document = {key: value for key, value in rule(namespace, 1).items() if key != "spec"}
        document["status"] = {"conditions": theirs}
        await cluster.apply(resource_of(RULE), document, field_manager="other", subresource="status")
        await apply(cluster, rule(namespace, 2))
        await condition(cluster, RULE, namespace, "web", "Accepted", status="True", reason="Accepted")
        found = conditions_in(await cluster.get(resource_of(RULE), "web", namespace))
        assert found["Reconciled"]["status"] == "True"


async def test_the_same_event_again_counts_on(cluster: Cluster, namespace: str) -> None:
    stored = await apply(cluster, rule(namespace, 1))
    metadata = ObjectMeta(name="web", namespace=namespace, uid=stored["metadata"]["uid"])
    key = ObjectKey(RULE, namespace, "web")
    telling = Events(cluster, "one")
    task = asyncio.create_task(telling.run())
    rejected = Condition("Programmed", "False", "Rejected", "no " * 1000, 1)
    try:
        for _ in range(3):
            telling.tell(key, resource_of(RULE), metadata, {}, (rejected,))
        telling.tell(key, resource_of(RULE), metadata, {}, (replace(rejected, message="yes"),))

        async def told() -> bool:
            return len(await events(cluster, namespace, "web")) == 2

        await until(told)
        counts = [(each.get("series") or {}).get("count", 1) for each in await events(cluster, namespace, "web")]
        assert sorted(counts) == [1, 3]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_objects_of_a_revision_are_written_by_one_of_it(cluster: Cluster, namespace: str) -> None:
    async with replica(cluster, namespace, "one") as one:
        await apply(cluster, rule(namespace, 1))
        await condition(cluster, RULE, namespace, "web", "Programmed", status="True")
        # Who asks may know of a status earlier than who wrote it does.
        await until(lambda: one.statuses.written > 0)
        by_ours, by_everybody = one.labelled.written, one.statuses.written
        ours = rule(namespace, 1, "ours", host="other")
        ours["metadata"]["labels"] = {"istio.io/rev": "canary"}
        await apply(cluster, ours)
        await condition(cluster, RULE, namespace, "ours", "Accepted", status="True")
        await until(lambda: one.labelled.written > by_ours)
        assert one.statuses.written == by_everybody


async def test_a_replica_that_comes_or_goes_takes_nothing_back(cluster: Cluster, namespace: str) -> None:
    """Else a rolling restart would write every object several times."""
    async with replica(cluster, namespace, "one") as one:
        for number in range(5):
            await apply(cluster, rule(namespace, 1, f"rule-{number}", host=f"host-{number}"))
        for number in range(5):
            await condition(cluster, RULE, namespace, f"rule-{number}", "Programmed", status="True")

        async def versions() -> list[str]:
            found = [await cluster.get(resource_of(RULE), f"rule-{number}", namespace) for number in range(5)]
            return [each["metadata"]["resourceVersion"] for each in found]

        before = await versions()
        async with replica(cluster, namespace, "two") as two:

            async def known() -> bool:
                return bool(one.replicas.living and two.replicas.living)

            await until(known)
            await asyncio.sleep(4 * AT_ONCE.recount)

        async def alone() -> bool:
            return not one.replicas.living

        await until(alone)
        await asyncio.sleep(4 * AT_ONCE.recount)
        assert await versions() == before


async def test_who_may_not_write_one_kind_writes_the_others(
    cluster: Cluster, namespace: str, api_server: ApiServer
) -> None:
    user = f"status-{namespace}"
    everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}
    leases = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]}
    status = {"apiGroups": ["*"], "resources": ["destinationrules/status"], "verbs": ["patch"]}
    named = {"metadata": {"name": user}}
    role = {"apiVersion": ROLES.api_version, "kind": "ClusterRole", "rules": [everything, leases, status], **named}
    reference = {"apiGroup": ROLES.group, "kind": "ClusterRole", "name": user}
    subjects = [{"kind": "User", "name": user, "apiGroup": ROLES.group}]
    binding = {"apiVersion": ROLES.api_version, "kind": "ClusterRoleBinding", **named}
    await cluster.create(ROLES, role)
    await cluster.create(BINDINGS, {**binding, "roleRef": reference, "subjects": subjects})
    try:
        async with await Cluster.connect(api_server.user(user)) as limited, replica(limited, namespace, "one") as one:
            await apply(cluster, routes(namespace, "web"))

            async def refused() -> bool:
                return one.statuses.failed > 0

            await until(refused)
            await apply(cluster, rule(namespace, 1))
            await condition(cluster, RULE, namespace, "web", "Accepted", status="True")
            failed = one.statuses.failed
            await apply(cluster, routes(namespace, "web", timeout="1s"))
            await asyncio.sleep(4 * AT_ONCE.recount)
            assert one.statuses.failed == failed
    finally:
        await cluster.delete(BINDINGS, user)
        await cluster.delete(ROLES, user)
