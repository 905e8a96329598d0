"""What becomes of pods."""

from typing import Any

import msgspec
import pytest

from dragoman.admission import MalformedReviewError, Verdict, injection, read
from dragoman.admission.injection_path import environment
from dragoman.sidecar.injection import InjectionSettings
from tests.admission.reviews import pod, review, virtual_service
from tests.sidecar.injection.json_patch import patched

SETTINGS = InjectionSettings(drain_secret=b"x" * 32)


async def _settings() -> InjectionSettings:
    return SETTINGS


async def _verdict(document: dict[str, Any], path: str = "", **how: Any) -> Verdict:
    return await injection(read(review(document, **how)), environment(path), _settings)


def _proxy(document: dict[str, Any], verdict: Verdict) -> dict[str, Any]:
    after = patched(document, verdict.patch)
    (found,) = (each for each in after["spec"]["initContainers"] if each["name"] == "istio-proxy")
    return found


async def test_the_patch_adds_a_sidecar_to_the_pod_that_was_sent() -> None:
    verdict = await _verdict(pod())
    assert verdict.allowed
    assert _proxy(pod(), verdict)["restartPolicy"] == "Always"


async def test_a_pod_without_a_name_yet_gets_one_too() -> None:
    unnamed = pod(generateName="web-7d4b9c-", labels={"app": "web"})
    del unnamed["metadata"]["name"]
    verdict = await _verdict(unnamed)
    assert _proxy(unnamed, verdict)


@pytest.mark.parametrize(
    ("document", "how"),
    [
        (pod(labels={"sidecar.istio.io/inject": "false"}), {}),
        (pod() | {"spec": {"hostNetwork": True, "containers": []}}, {}),
        (pod(), {"old": pod()}),
        (pod(), {"sub_resource": "ephemeralcontainers"}),
        (virtual_service(), {}),
    ],
    ids=["says no", "host network", "update", "subresource", "another kind"],
)
async def test_other_pods_are_left_as_they_are(document: dict[str, Any], how: dict[str, Any]) -> None:
    assert await _verdict(document, **how) == Verdict()


async def test_the_namespace_is_that_of_the_request_where_the_pod_says_none() -> None:
    document = pod()
    del document["metadata"]["namespace"]
    body = review(document).replace(b'"namespace": ""', b'"namespace": "kube-system"')
    assert await injection(read(body), {}, _settings) == Verdict()


async def test_everything_that_is_wrong_with_the_annotations_is_said() -> None:
    wrong = {"sidecar.istio.io/proxyCPU": "much", "traffic.sidecar.istio.io/includeInboundPorts": "eighty"}
    verdict = await _verdict(pod(annotations=wrong))
    assert {each.path for each in verdict.errors} == {f"metadata.annotations[{name}]" for name in wrong}
    assert not verdict.patch


async def test_the_path_says_in_which_cluster_and_network_the_proxy_is() -> None:
    verdict = await _verdict(pod(), "cluster/east/net/net--slash--1")
    (bootstrap,) = (each for each in _proxy(pod(), verdict)["args"] if "east" in each)
    assert '"net/1"' in bootstrap
    assert not verdict.warnings


async def test_who_asks_about_the_same_pod_is_told_of_another_path_to_drain_it() -> None:
    """Anybody who reaches the port may ask; what the API server was told stays a secret."""

    async def drained_at(body: bytes) -> str:
        proxy = _proxy(pod(), await injection(read(body), {}, _settings))
        found: str = proxy["lifecycle"]["preStop"]["httpGet"]["path"]
        assert [found in argument for argument in proxy["args"]].count(True) == 1
        return found

    body = review(pod())
    assert await drained_at(body) == await drained_at(body)
    assert await drained_at(body) != await drained_at(body.replace(b"705ab4f5", b"805ab4f5"))


async def test_what_else_the_path_says_has_no_effect_and_a_warning() -> None:
    verdict = await _verdict(pod(), "cluster/east/team/shop")
    assert [(each.code, each.message.split()[0]) for each in verdict.warnings] == [("DRG0602", "team")]


@pytest.mark.parametrize(
    ("path", "about"),
    [
        ("", {}),
        ("/", {}),
        ("cluster", {}),
        ("cluster/a/net", {"ISTIO_META_CLUSTER_ID": "a"}),
        ("net/n/cluster/a/", {"ISTIO_META_NETWORK": "n", "ISTIO_META_CLUSTER_ID": "a"}),
    ],
)
def test_pairs_of_the_path(path: str, about: dict[str, str]) -> None:
    assert environment(path) == about


async def test_a_creation_without_a_pod_is_no_review() -> None:
    body = msgspec.json.decode(review(pod()))
    body["request"]["object"] = None
    with pytest.raises(MalformedReviewError, match="CREATE without an object"):
        await injection(read(msgspec.json.encode(body)), {}, _settings)
