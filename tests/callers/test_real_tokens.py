"""Tokens that a real API server has issued, and what it says of them."""

import json
from typing import Any

import pytest

from ca.identity import SpiffeId
from dragoman.callers.credentials import NotAuthenticatedError
from dragoman.callers.token_review import TokenReview
from dragoman.kube import Cluster
from dragoman.kube.resources import PODS, SERVICE_ACCOUNTS
from tests.callers.caller_samples import bearer
from tests.support.until import until

pytestmark = pytest.mark.real_api


async def pod(cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
    container = {"name": "app", "image": "none"}
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}}
    return await cluster.create(PODS, document, namespace)


async def token(cluster: Cluster, namespace: str, bound_to: dict[str, Any] | None, audience: str = "istio-ca") -> str:
    spec: dict[str, Any] = {"audiences": [audience]}
    if bound_to is not None:
        meta = bound_to["metadata"]
        spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    path = SERVICE_ACCOUNTS.path(namespace, "default", "token")
    answer = await cluster.request("POST", path, body=request)
    return str(json.loads(answer)["status"]["token"])


def review(cluster: Cluster) -> TokenReview:
    return TokenReview(cluster, ("istio-ca",), lambda: "cluster.local")


async def test_a_pods_token_says_which_pod_and_until_when(cluster: Cluster, namespace: str) -> None:
    bound = await pod(cluster, namespace, "web-1")
    caller = await review(cluster).authenticate(bearer(await token(cluster, namespace, bound)))
    assert caller is not None
    assert caller.identities == (SpiffeId("cluster.local", namespace, "default"),)
    assert caller.pod is not None
    assert (caller.pod.namespace, caller.pod.name, caller.pod.uid) == (namespace, "web-1", bound["metadata"]["uid"])
    assert caller.expires_at is not None


async def test_a_token_of_no_pod_is_the_accounts_alone(cluster: Cluster, namespace: str) -> None:
    caller = await review(cluster).authenticate(bearer(await token(cluster, namespace, None)))
    assert caller is not None
    assert caller.pod is None


async def test_a_token_for_somebody_else_is_refused(cluster: Cluster, namespace: str) -> None:
    theirs = await token(cluster, namespace, None, audience="vault")
    with pytest.raises(NotAuthenticatedError):
        await review(cluster).authenticate(bearer(theirs))


async def test_the_token_of_a_pod_that_is_gone_is_refused(cluster: Cluster, namespace: str) -> None:
    bound = await pod(cluster, namespace, "web-2")
    theirs = await token(cluster, namespace, bound)
    now = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
    await cluster.request("DELETE", PODS.path(namespace, "web-2"), body=now)

    async def refused() -> bool:
        """The API server looks at pods that it watches: it may hear of the end of one after the answer."""
        try:
            await review(cluster).authenticate(bearer(theirs))
        except NotAuthenticatedError:
            return True
        return False

    await until(refused)


async def test_a_token_that_no_api_server_signed_is_refused(cluster: Cluster, namespace: str) -> None:
    theirs = await token(cluster, namespace, None)
    with pytest.raises(NotAuthenticatedError):
        await review(cluster).authenticate(bearer(theirs[:-8] + "AAAAAAAA"))
