"""`dragoman wait` against a local control plane and a real API server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_runs import run
from typer.testing import Result

from crds.meta import ObjectKey
from crds.registry import ISTIO_KINDS
from dragoman.cli.waiting import Found, Goal, State, Wanted, find_kind, objects_in, on_object, on_page
from dragoman.kube import ApiResource, Cluster
from tests.debug.debug_proxy import proxy_at
from tests.debug.running_plane import CLUSTER_OF_WEB, WEB, RunningPlane, running_plane
from tests.support.api_server import ApiServer
from tests.support.until import until

RULES = ISTIO_KINDS["DestinationRule"].resource
RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec:
  host: web
  trafficPolicy: {connectionPool: {tcp: {connectTimeout: %s}}}
"""


def condition(type_: str, status: str, reason: str = "", generation: int | None = None) -> dict[str, Any]:
    about = {} if generation is None else {"observedGeneration": generation}
    return {"type": type_, "status": status, "reason": reason, "message": f"because {reason}", **about}


def stored(generation: int, *conditions: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"generation": generation}, "status": {"conditions": list(conditions)}}


@pytest.mark.parametrize(
    "text", ["VirtualService", "virtualservice", "virtualservices", "vs", "vs.networking.istio.io"]
)
def test_kinds_are_named_as_kubectl_has_them(text: str) -> None:
    assert find_kind(text) == "VirtualService"


def test_unknown_kinds() -> None:
    assert find_kind("Deployment") is None


def test_only_objects_of_istio_are_waited_for() -> None:
    text = RULE.replace("%s", "1s") + (
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\n"
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: broken}\n"
        "spec: {htp: []}\n---\n"
    )
    first, second = objects_in(text.encode(), json=False, namespace="here")
    assert first.key == ObjectKey("DestinationRule", "shop", "web")
    assert first.digest
    assert second == Wanted(ObjectKey("VirtualService", "here", "broken"))


def test_lists_are_looked_into() -> None:
    document = {"apiVersion": "v1", "kind": "List", "items": [yaml.safe_load(RULE.replace("%s", "1s"))]}
    (found,) = objects_in(json.dumps(document).encode(), json=True, namespace="here")
    assert found.key.name == "web"


@pytest.mark.parametrize(
    ("document", "state"),
    [
        (stored(2), State.WAITING),
        (stored(2, condition("Accepted", "True", generation=1)), State.WAITING),
        (stored(2, condition("Accepted", "False", "Invalid", 1)), State.WAITING),
        (stored(2, condition("Accepted", "False", "Invalid", 2)), State.REFUSED),
        (
            stored(2, condition("Accepted", "True", "", 2), condition("Programmed", "False", "Pending", 2)),
            State.WAITING,
        ),
        (
            stored(2, condition("Accepted", "True", "", 2), condition("Programmed", "False", "Rejected", 2)),
            State.REFUSED,
        ),
        (stored(2, condition("Accepted", "True", "", 2), condition("Programmed", "True", "", 1)), State.WAITING),
        (stored(2, condition("Accepted", "True", "", 2), condition("Programmed", "True", "", 2)), State.DONE),
    ],
)
def test_only_the_newest_generation_counts(document: dict[str, Any], state: State) -> None:
    assert on_object(document, Goal.programmed).state is state


def test_accepted_is_enough_where_nothing_else_is_asked() -> None:
    document = stored(1, condition("Accepted", "True", "Accepted", 1), condition("Programmed", "False", "Rejected", 1))
    assert on_object(document, Goal.accepted) == Found(State.DONE, "Accepted", "because Accepted")


def test_without_generations_the_content_counts() -> None:
    conditions = [condition("Accepted", "True"), condition("Programmed", "True")]
    wanted = Wanted(ObjectKey("DestinationRule", "shop", "web"), "new")
    assert on_page({"digest": "old", "conditions": conditions}, Goal.programmed, wanted).state is State.WAITING
    assert on_page({"digest": "new", "conditions": conditions}, Goal.programmed, wanted).state is State.DONE


async def waiting(plane: RunningPlane, *arguments: str | Path) -> Result:
    address = f"127.0.0.1:{plane.http_port}"
    return await asyncio.to_thread(run, "wait", *arguments, "--http-address", address)


async def test_against_a_local_control_plane(tmp_path: Path) -> None:
    folder = tmp_path / "mesh"
    folder.mkdir()
    async with running_plane(folder) as plane, proxy_at(plane.xds_port, WEB) as proxy:
        await until(plane.all_in_sync)
        there = await waiting(plane, "DestinationRule", "web", "-n", "shop")
        assert (there.exit_code, there.stdout.count("1/1 proxies")) == (0, 1)
        both = await waiting(plane, "dr/web", "vs/web", "-n", "shop", "-o", "json")
        assert [(entry["kind"], entry["met"]) for entry in json.loads(both.stdout)] == [
            ("DestinationRule", True),
            ("VirtualService", True),
        ]

        file = tmp_path / "rule.yaml"
        file.write_text(RULE.replace("%s", "9s"))
        late = await waiting(plane, "-f", file, "--timeout", "300ms")
        assert late.exit_code == 3
        assert "another version of it is in force" in late.stderr
        mesh = folder / "mesh.yaml"
        mesh.write_text(mesh.read_text().replace("connectTimeout: 3s", "connectTimeout: 9s"))
        done = await waiting(plane, "-f", file)
        assert done.exit_code == 0, done.output

        proxy.refuse(CLUSTER_OF_WEB, "not today")
        mesh.write_text(mesh.read_text().replace("connectTimeout: 9s", "connectTimeout: 8s"))
        file.write_text(RULE.replace("%s", "8s"))
        refused = await waiting(plane, "-f", file)
        assert refused.exit_code == 1
        assert "not today" in refused.stderr
        accepted = await waiting(plane, "-f", file, "--for", "accepted")
        assert accepted.exit_code == 0

        missing = await waiting(plane, "vs/none", "--timeout", "0s")
        assert (missing.exit_code, "there is no such object" in missing.stderr) == (3, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say either"),
        (("VirtualService",), "KIND NAME"),
        (("Pod", "a"), "no kind"),
        (("vs/a", "b"), "KIND NAME"),
        (("vs/a", "--timeout", "soon"), "soon"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], said: str) -> None:
    result = run("wait", *arguments, "--http-address", "127.0.0.1:1")
    assert result.exit_code == 2
    assert said in result.stderr


def test_no_control_plane() -> None:
    result = run("wait", "vs/a", "--http-address", "127.0.0.1:1")
    assert result.exit_code == 1
    assert "no answer" in result.stderr


@pytest.mark.real_api
@pytest.mark.usefixtures("custom_resources")
async def test_against_a_cluster(cluster: Cluster, namespace: str, api_server: ApiServer, tmp_path: Path) -> None:
    """It reads what stands on the object, whoever wrote it."""
    resource = ApiResource(RULES.group, RULES.storage, RULES.plural, "DestinationRule")
    document = {"apiVersion": resource.api_version, "kind": "DestinationRule", "metadata": {"name": "web"}}
    document["metadata"]["namespace"] = namespace  # type: ignore[index]
    await cluster.apply(resource, {**document, "spec": {"host": "web"}})
    file = tmp_path / "rule.yaml"
    file.write_text(RULE.replace("%s", "1s").replace("namespace: shop", f"namespace: {namespace}"))

    async def wait(*arguments: str) -> Result:
        where = ("--kubeconfig", str(api_server.kubeconfig), "-n", namespace)
        return await asyncio.to_thread(run, "wait", "-f", str(file), *arguments, *where)

    silent = await wait("--timeout", "100ms")
    assert silent.exit_code == 3
    assert "no control plane has said anything of it" in silent.stderr
    conditions = [condition("Accepted", "True", "Accepted", 1), condition("Programmed", "True", "Programmed", 1)]
    task = asyncio.create_task(wait())
    await cluster.apply(resource, {**document, "status": {"conditions": conditions}}, subresource="status")
    assert (await task).exit_code == 0
