"""The API server that tests run against: it is real, and does what tests ask of it."""

import asyncio
import json
from pathlib import Path

import pytest

from dragoman.kube.cluster import Cluster
from dragoman.kube.errors import ApiError
from dragoman.kube.resources import CONFIG_MAPS, NAMESPACES, PODS
from e2e.apiserver import programs
from tests.support.api_server import ApiServer, LocalApiServer, a_namespace, require_api_server
from tests.support.until import until

pytestmark = pytest.mark.real_api


def config_map(name: str, namespace: str) -> dict[str, object]:
    """A ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}}


async def test_pods_can_be_made_in_a_fresh_namespace(cluster: Cluster, namespace: str) -> None:
    container = {"name": "application", "image": "application"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": {"containers": [container]}}
    await cluster.create(PODS, pod, namespace)
    made = await cluster.get(PODS, "pod", namespace)
    assert made["spec"]["serviceAccountName"] == "default"


async def test_another_user_may_do_what_rbac_says(api_server: ApiServer, namespace: str) -> None:
    async with await Cluster.connect(api_server.user("amina")) as amina:
        with pytest.raises(ApiError) as error:
            await amina.list(PODS, namespace)
        assert error.value.forbidden
        assert 'User "amina"' in error.value.message


async def test_after_compaction_and_a_restart_what_was_stored_is_there_and_old_versions_are_gone(
    api_server: ApiServer, cluster: Cluster, namespace: str
) -> None:
    old = (await cluster.create(CONFIG_MAPS, config_map("kept", namespace), namespace))["metadata"]["resourceVersion"]
    await cluster.create(CONFIG_MAPS, config_map("second", namespace), namespace)
    await api_server.compact()
    await api_server.stop_server()
    try:
        with pytest.raises(ApiError) as error:
            await cluster.get(CONFIG_MAPS, "kept", namespace)
    finally:
        await api_server.start_server()
    assert error.value.unavailable
    assert await cluster.get(CONFIG_MAPS, "kept", namespace)
    query = {"watch": "true", "resourceVersion": old}
    async with asyncio.timeout(60), cluster.lines(CONFIG_MAPS.path(namespace), query=query) as lines:
        event = json.loads(await anext(lines))
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


async def test_a_namespace_is_removed_with_all_that_is_in_it(api_server: ApiServer, cluster: Cluster) -> None:
    async with a_namespace(api_server, cluster) as name:
        await cluster.create(CONFIG_MAPS, config_map("gone", name), name)
        await cluster.create(CONFIG_MAPS, config_map("stays", "default"), "default")

    async def gone() -> bool:
        left = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in await cluster.list(CONFIG_MAPS)}
        assert ("default", "stays") in left
        namespaces = [each["metadata"]["name"] for each in await cluster.list(NAMESPACES)]
        return name not in (*namespaces, *(namespace for namespace, _ in left))

    await until(gone)
    await cluster.delete(CONFIG_MAPS, "stays", "default")


async def test_an_older_version_can_be_emulated() -> None:
    require_api_server()
    with LocalApiServer.running(minor="1.33", controllers=False) as server:
        async with await Cluster.connect(server.kubeconfig) as cluster:
            version = json.loads(await cluster.request("GET", "/version"))
        assert (version["emulationMajor"], version["emulationMinor"]) == ("1", "33")
    assert not server.kubeconfig.exists(), "nothing is left behind"


def test_the_two_api_servers_can_be_like_every_supported_version(tmp_path: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    program = programs.OLDER.cache(environment) / "kube-apiserver"
    assert programs.find_api_server("1.31", environment) is None
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    assert programs.find_api_server("1.31", environment) == programs.find_api_server("1.32", environment) == program
    assert programs.find_api_server("1.30", environment) is None
    newest = int(programs.NEWEST.version.split(".")[1])
    for minor in range(31, newest + 1):
        assert any(each.can_be(f"1.{minor}") for each in (programs.OLDER, programs.NEWEST)), minor
