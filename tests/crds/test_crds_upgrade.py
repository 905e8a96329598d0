"""Our definitions over those of Istio, and Istio's over ours, in API servers of older Kubernetes too.

Which ones, $EMULATED_KUBERNETES says ("1.33,1.34"); else the oldest that can be had.
"""

import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from crds.manifests import admission_policies, definition, definitions
from crds.registry import ISTIO_KINDS
from dragoman.kube.cluster import Cluster
from dragoman.kube.errors import ApiError
from dragoman.kube.resources import CUSTOM_RESOURCE_DEFINITIONS
from tests.crds.specs import GOOD
from tests.crds.verdicts import document, refusal, refusals_of_bad_objects, served
from tests.support.api_server import LocalApiServer, oldest, require_api_server
from tests.support.custom_resources import install
from tests.support.until import until

pytestmark = pytest.mark.real_api

VERSIONS = os.environ.get("EMULATED_KUBERNETES", oldest()).split(",")


@pytest.fixture(scope="module", params=VERSIONS)
def older(request: pytest.FixtureRequest) -> Iterator[LocalApiServer]:
    """An API server of its own, in which definitions may be exchanged."""
    require_api_server(request.param)
    with LocalApiServer.running(minor=request.param, controllers=False) as server:
        yield server


@pytest.fixture
async def older_cluster(older: LocalApiServer) -> AsyncIterator[Cluster]:
    async with await Cluster.connect(older.kubeconfig) as connected:
        yield connected


def of_istio(kind: str) -> dict[str, Any]:
    """A definition that tells everything of a kind that Istio's does, but for the fields of its spec."""
    document = definition(ISTIO_KINDS[kind])
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    document["metadata"]["labels"] = {"app": "istio-pilot", "chart": "istio", "heritage": "Tiller", "release": "istio"}
    for version in document["spec"]["versions"]:
        version["additionalPrinterColumns"] = version["additionalPrinterColumns"][:-2]
        version["schema"] = {
            "openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {"spec": free, "status": free}}
        }
    return document


TWO_ACTIONS = "{hosts: [a], http: [{route: [{destination: {host: a}}], redirect: {uri: /a}}, {redirect: {uri: /b}}]}"


async def test_objects_outlive_the_change_from_istios_definitions_to_ours_and_back(older_cluster: Cluster) -> None:
    cluster = older_cluster
    await install(cluster, [of_istio(kind) for kind in ISTIO_KINDS])
    held = [document(kind, spec, f"good-{index}") for index, (kind, spec) in enumerate(GOOD)]
    for good in held:
        await cluster.create(served(good["kind"]), good)
    await cluster.create(served("VirtualService"), document("VirtualService", TWO_ACTIONS, "bad"))

    await install(cluster)
    await _refuses(cluster, document("VirtualService", TWO_ACTIONS))
    for ours in definitions():
        now = await cluster.get(CUSTOM_RESOURCE_DEFINITIONS, ours["metadata"]["name"])
        assert now["spec"]["versions"] == ours["spec"]["versions"]
        assert now["status"]["storedVersions"] == [v["name"] for v in ours["spec"]["versions"] if v["storage"]]
    for good in held:
        for version in ISTIO_KINDS[good["kind"]].resource.versions:
            now = await cluster.get(served(good["kind"], version), good["metadata"]["name"], "default")
            assert now["spec"] == good["spec"]

    # What was taken before can be told of and labelled; what is wrong with it can only be changed for the good.
    bad = served("VirtualService")
    status = {"conditions": [{"type": "Accepted", "status": "False", "reason": "Invalid"}]}
    await cluster.patch(bad, "bad", {"status": status}, "default", subresource="status")
    await cluster.patch(bad, "bad", {"metadata": {"labels": {"team": "a"}}}, "default")
    now = await cluster.get(bad, "bad", "default")
    assert (now["status"], now["metadata"]["labels"]) == (status, {"team": "a"})
    changed = [{"op": "add", "path": "/spec/http/0/timeout", "value": "5s"}]
    with pytest.raises(ApiError, match="a route does one of"):
        await cluster.patch(bad, "bad", changed, "default", kind="json")
    await cluster.patch(bad, "bad", [{"op": "remove", "path": "/spec/http/0/route"}], "default", kind="json")

    await install(cluster, [of_istio(kind) for kind in ISTIO_KINDS])
    for good in held:
        now = await cluster.get(served(good["kind"]), good["metadata"]["name"], "default")
        assert now["spec"] == good["spec"]


async def _refuses(cluster: Cluster, held: dict[str, Any]) -> None:
    """Wait until the API server judges by the new schema."""

    async def refuses() -> bool:
        return bool(await refusal(cluster, held))

    await until(refuses)


async def test_older_api_servers_take_definitions_and_policies_and_judge_alike(older_cluster: Cluster) -> None:
    cluster = older_cluster
    await install(cluster)
    for kind in ISTIO_KINDS:
        await _refuses(cluster, document(kind, "{nonsense: 1}"))
    for kind, spec in GOOD:
        assert await refusal(cluster, document(kind, spec)) == "", spec
    await refusals_of_bad_objects(cluster)
    for held in admission_policies():
        await cluster.apply(served(held["kind"]), held, field_manager="tests")
    await _refuses(cluster, document("EnvoyFilter", "{}"))
