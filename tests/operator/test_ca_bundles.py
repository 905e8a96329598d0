"""The webhooks that a chart has installed, kept in order in a real API server."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from ca.authority import new_root
from dragoman.kube import ApiError, ApiResource, Cluster
from dragoman.kube.resources import MUTATING_WEBHOOK_CONFIGURATIONS, PODS, VALIDATING_WEBHOOK_CONFIGURATIONS
from dragoman.operator.ca_bundles import Webhook, correction, webhooks_of
from dragoman.operator.webhook_proof import VIRTUAL_SERVICES
from tests.operator.installed_webhooks import Installed
from tests.support.until import until

BOTH = (MUTATING_WEBHOOK_CONFIGURATIONS, VALIDATING_WEBHOOK_CONFIGURATIONS)


@pytest.fixture
async def installed(cluster: Cluster, namespace: str, custom_resources: None) -> AsyncIterator[Installed]:
    """Installed, and nothing at work yet."""
    value = Installed(cluster, namespace)
    await value.install()
    try:
        yield value
    finally:
        await value.uninstall()


async def _bundled(installed: Installed, resource: ApiResource) -> bool:
    wanted = base64.b64encode(installed.identities.roots_pem).decode()
    return {each["clientConfig"].get("caBundle") for each in await installed.webhooks(resource)} == {wanted}


async def _fails_closed(installed: Installed) -> bool:
    return {each["failurePolicy"] for each in await installed.webhooks(VALIDATING_WEBHOOK_CONFIGURATIONS)} == {"Fail"}


async def _refusal(installed: Installed, document: dict[str, Any]) -> str:
    try:
        await installed.cluster.create(PODS if document["kind"] == "Pod" else VIRTUAL_SERVICES, document, dry_run=True)
    except ApiError as error:
        return error.message
    return ""


async def _fails_to_call(installed: Installed, document: dict[str, Any]) -> bool:
    """Its webhooks are asked, in vain. The API server learns of their configurations a moment after they are stored."""
    return "failed calling webhook" in await _refusal(installed, document)


async def _passes(installed: Installed, document: dict[str, Any]) -> bool:
    return await _refusal(installed, document) == ""


@pytest.mark.real_api
async def test_webhooks_get_the_bundle_and_get_it_back(installed: Installed) -> None:
    async with installed.keeping_bundles():
        for resource in BOTH:
            await until(lambda resource=resource: _bundled(installed, resource))
        name = installed.injector["metadata"]["name"]
        forged = [{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": "Zm9yZ2Vk"}]
        await installed.cluster.patch(MUTATING_WEBHOOK_CONFIGURATIONS, name, forged, kind="json")
        await until(lambda: _bundled(installed, MUTATING_WEBHOOK_CONFIGURATIONS))
        # As after `helm upgrade`, which knows of no bundle.
        await installed.cluster.delete(MUTATING_WEBHOOK_CONFIGURATIONS, name)
        await installed.cluster.create(MUTATING_WEBHOOK_CONFIGURATIONS, installed.injector)
        await until(lambda: _bundled(installed, MUTATING_WEBHOOK_CONFIGURATIONS))
        installed.identities.also_trust([new_root("next", now=datetime.now(UTC)).certificate])
        for resource in BOTH:
            await until(lambda resource=resource: _bundled(installed, resource))


@pytest.mark.real_api
async def test_validation_fails_closed_once_the_webhook_has_refused_something(installed: Installed) -> None:
    bad = installed.virtual_service("bad", regex="(")
    async with installed.keeping_bundles():
        # Nobody answers: what is wrong passes, and so does what is right.
        await until(lambda: _bundled(installed, VALIDATING_WEBHOOK_CONFIGURATIONS))
        assert await _refusal(installed, bad) == ""
        assert not await _fails_closed(installed)
        async with installed.serving():
            await until(lambda: _fails_closed(installed))
            assert "DRG0306 spec.http[0].match[0].uri.regex" in await _refusal(installed, bad)
            assert await _refusal(installed, installed.virtual_service("good")) == ""
            # An upgrade that sets it back does not stay.
            name = installed.validator["metadata"]["name"]
            opened = [{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]
            await installed.cluster.patch(VALIDATING_WEBHOOK_CONFIGURATIONS, name, opened, kind="json")
            await until(lambda: _fails_closed(installed))
    # The webhook is gone, and nothing passes that it should have looked at.
    await until(lambda: _fails_to_call(installed, installed.virtual_service("good")))


@pytest.mark.real_api
async def test_pods_are_kept_out_while_the_injector_is_away(installed: Installed) -> None:
    async with installed.keeping_bundles():
        await until(lambda: _bundled(installed, MUTATING_WEBHOOK_CONFIGURATIONS))
        await until(lambda: _fails_to_call(installed, installed.pod("web")))
        refused = {"sidecar.istio.io/inject": "false"}
        assert await _refusal(installed, installed.pod("web", **refused)) == ""
        async with installed.serving():
            await until(lambda: _passes(installed, installed.pod("web")))
            stored = await installed.cluster.create(PODS, installed.pod("web"), dry_run=True)
            assert stored["metadata"]["labels"]["injected"] == "yes"


@pytest.mark.real_api
async def test_the_root_rotates_under_load_without_a_refused_request(installed: Installed) -> None:
    """The order of a rotation: both roots are trusted, then the new one signs, then the old one goes."""
    created = 0
    ended = asyncio.Event()

    async def load(number: int) -> None:
        nonlocal created
        while not ended.is_set():
            await installed.cluster.create(PODS, installed.pod(f"web-{number}"), dry_run=True)
            created += 1

    async def more(count: int) -> None:
        """Wait until so many more pods have got in."""
        wanted = created + count

        async def enough() -> bool:
            return created >= wanted

        await until(enough)

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(installed.serving())
        await stack.enter_async_context(installed.keeping_bundles())
        await until(lambda: _bundled(installed, MUTATING_WEBHOOK_CONFIGURATIONS))
        await until(lambda: _passes(installed, installed.pod("first")))
        old, new = installed.identities.authority, new_root("cluster.local", now=datetime.now(UTC))
        async with asyncio.TaskGroup() as tasks:
            for number in range(4):
                tasks.create_task(load(number))
            await more(20)
            installed.identities.also_trust([new.certificate])
            await until(lambda: _bundled(installed, MUTATING_WEBHOOK_CONFIGURATIONS))
            await more(50)
            installed.identities.use(new)
            installed.identities.also_trust([old.certificate])
            await more(50)
            # What is signed by the old root is served nowhere any more.
            installed.identities.also_trust([])
            await until(lambda: _bundled(installed, MUTATING_WEBHOOK_CONFIGURATIONS))
            await more(100)
            ended.set()


def _configuration(**changes: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "x", "labels": {"istio.io/rev": "canary"}},
        "webhooks": [
            {
                "name": "rev.namespace.sidecar-injector.istio.io",
                "clientConfig": {"service": {"name": "istiod-canary", "namespace": "istio-system"}},
            }
        ],
    } | changes


def _ours(document: dict[str, Any]) -> list[str]:
    found = webhooks_of(document, MUTATING_WEBHOOK_CONFIGURATIONS, "canary", "istio-system")
    return [each.name for each in found]


def test_ours_are_those_of_our_revision_that_lead_to_us() -> None:
    assert _ours(_configuration()) == ["rev.namespace.sidecar-injector.istio.io"]
    tag = {"name": "istio-revision-tag-prod", "labels": {"istio.io/rev": "canary", "istio.io/tag": "prod"}}
    assert _ours(_configuration(metadata=tag))
    assert not _ours(_configuration(metadata={"name": "x", "labels": {"istio.io/rev": "default"}}))
    assert not _ours(_configuration(metadata={"name": "x"}))
    elsewhere = {"service": {"name": "istiod", "namespace": "other"}}
    name = "rev.namespace.sidecar-injector.istio.io"
    assert not _ours(_configuration(webhooks=[{"name": name, "clientConfig": elsewhere}]))
    assert _ours(_configuration(webhooks=[{"name": name, "clientConfig": {"url": "https://here.example/inject"}}]))
    assert not _ours(_configuration(webhooks=[{"name": "policy.example", "clientConfig": {"url": "https://x"}}]))
    assert not _ours(_configuration(webhooks=None))


def test_only_what_differs_is_written_and_a_policy_never_opens() -> None:
    right = Webhook("a", "bundle", "Fail")
    assert correction([right], "bundle", closed=True) is None
    assert correction([right._replace(failure_policy="Ignore")], "bundle", closed=False) is None
    stale = right._replace(ca_bundle="", failure_policy="Ignore")
    assert correction([right, stale], "bundle", closed=True) == [
        {"name": "a", "clientConfig": {"caBundle": "bundle"}, "failurePolicy": "Fail"},
        {"name": "a", "clientConfig": {"caBundle": "bundle"}, "failurePolicy": "Fail"},
    ]
    assert correction([stale], "bundle", closed=False) == [{"name": "a", "clientConfig": {"caBundle": "bundle"}}]
