"""Applying a bundle: in order, each step only when the one before is ready, and what is no longer in it goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from dragoman.installation import inventory
from dragoman.installation.bundle import MANAGED_BY, MANAGER, Bundle, Component, Part
from dragoman.installation.inventory import Inventory
from dragoman.installation.objects import Document, Identity, identity
from dragoman.installation.readiness import WAITED_FOR, missing
from dragoman.kube import ApiError, Cluster
from dragoman.kube.resources import DEPLOYMENTS, NAMESPACES

Tell = Callable[[str], None]

_POLL_SECONDS: Final = 0.5
_KEPT: Final = frozenset(("Namespace", "CustomResourceDefinition"))
"""Never taken away because a bundle no longer has them: with them would go what others have put there."""

_CONFIGURATION: Final = frozenset(("ConfigMap",))
_RIGHTS: Final = frozenset(("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"))
_WEBHOOKS: Final = frozenset(("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"))


class InstallError(Exception):
    """It was not installed, or is not ready; the text says what is the matter."""


@dataclass(frozen=True, slots=True)
class Step:
    """Objects that are applied together; what comes after needs them to be ready."""

    title: str
    documents: tuple[Document, ...]
    essential: bool = False
    """Waited for even if nobody wants to wait: nothing that follows could be applied."""


def steps(bundle: Bundle) -> Iterator[Step]:
    """The order of installing.

    Webhooks come after the control plane is ready, as pods are refused while nobody answers at one; gateways after the
    webhooks, which make their pods what they are.
    """
    own = [part for part in bundle.parts if part.component is not Component.GATEWAY]

    def of(kinds: Iterable[str]) -> tuple[Document, ...]:
        return tuple(part.document for part in own if part.document["kind"] in kinds)

    first = frozenset(("Namespace",)), frozenset(("CustomResourceDefinition",))
    named = (
        ("namespace", first[0]),
        ("custom resource definitions", first[1]),
        ("accounts and rights", _RIGHTS),
        ("configuration", _CONFIGURATION),
    )
    for title, kinds in named:
        yield Step(title, of(kinds), essential=kinds in first)
    others = {part.document["kind"] for part in own} - _WEBHOOKS - set().union(*(kinds for _, kinds in named))
    yield Step("control plane", of(others))
    yield Step("webhooks", of(_WEBHOOKS))
    yield Step("gateways", tuple(part.document for part in bundle.parts if part.component is Component.GATEWAY))


class Installer:
    """Installs in a cluster, and tells each step. Every method raises InstallError or ApiError."""

    def __init__(self, cluster: Cluster, tell: Tell, *, wait_seconds: float | None) -> None:
        """`wait_seconds` is how long all of it may take to become ready; None not to wait."""
        self._cluster, self._tell = cluster, tell
        self._wait_seconds = wait_seconds

    async def install(self, bundle: Bundle) -> None:
        """Apply a bundle, wait for it, and take away what was applied before and is no longer in it.

        What is to be applied is written down first, so that an installation that breaks off leaves nothing unknown.
        """
        before = await inventory.stored(self._cluster, bundle.namespace, bundle.revision)
        await self._refuse_to_take_over(bundle)
        exists = await self._exists(bundle.namespace)
        made_namespace = before.made_namespace if before else not exists
        now = Inventory(bundle.namespace, bundle.revision, frozenset(map(identity, bundle.documents)), made_namespace)
        known = now.with_objects(now.objects | before.objects) if before else now
        deadline = asyncio.get_running_loop().time() + (self._wait_seconds or 60)
        for step in steps(bundle):
            if not step.documents:
                continue
            self._tell(f"{step.title}: {_counted(step.documents)}")
            await asyncio.gather(
                *(
                    self._apply(document)
                    for document in step.documents
                    # The labels of a namespace are whoever's made it.
                    if made_namespace or document["kind"] != "Namespace"
                )
            )
            if step.documents[0]["kind"] == "Namespace":
                await self._cluster.apply(identity(known.document()).resource, known.document(), field_manager=MANAGER)
            if step.essential or self._wait_seconds is not None:
                await self._ready(step, deadline)
        await self._prune(known.objects - now.objects)
        await self._cluster.apply(identity(now.document()).resource, now.document(), field_manager=MANAGER)

    async def _exists(self, namespace: str) -> bool:
        try:
            there = await self._cluster.get(NAMESPACES, namespace)
        except ApiError as error:
            if error.not_found:
                return False
            raise
        if "deletionTimestamp" in there["metadata"]:
            raise InstallError(f"namespace {namespace} is being deleted: try again when it is gone")
        return True

    async def _refuse_to_take_over(self, bundle: Bundle) -> None:
        for part in bundle.parts:
            if part.document["kind"] == "Deployment":
                await self._refuse_foreign(part)

    async def _refuse_foreign(self, part: Part) -> None:
        wanted = identity(part.document)
        try:
            there = await self._cluster.get(DEPLOYMENTS, wanted.name, wanted.namespace)
        except ApiError as error:
            if error.not_found:
                return
            raise
        manager = there["metadata"].get("labels", {}).get(MANAGED_BY)
        if manager != MANAGER:
            by = f"is managed by {manager}" if manager else "was not installed by this command"
            raise InstallError(f"{wanted} {by}: take it away first, or install beside it with --revision")

    async def _apply(self, document: Document) -> None:
        what = identity(document)
        try:
            if what.kind == "ValidatingWebhookConfiguration":
                document = await self._as_strict(document)
            await self._cluster.apply(what.resource, document, field_manager=MANAGER)
        except ApiError as error:
            if error.not_found and what.resource.group == "monitoring.coreos.com":
                remedy = "install the Prometheus operator, or leave values monitoring.* unset"
                raise InstallError(f"{what}: the cluster does not know this kind: {remedy}") from None
            raise InstallError(f"{what}: {error}") from error

    async def _as_strict(self, document: Document) -> Document:
        """The document with the failure policies that its webhooks have come to: the control plane closes what is
        installed open, as soon as it has seen it work."""
        what = identity(document)
        try:
            there = await self._cluster.get(what.resource, what.name)
        except ApiError as error:
            if error.not_found:
                return document
            raise
        closed = {each["name"] for each in there["webhooks"] if each.get("failurePolicy") == "Fail"}
        webhooks = [
            {**each, "failurePolicy": "Fail"} if each["name"] in closed else each for each in document["webhooks"]
        ]
        return {**document, "webhooks": webhooks}

    async def _ready(self, step: Step, deadline: float) -> None:
        waited_for = [identity(each) for each in step.documents if each["kind"] in WAITED_FOR]
        told = ""
        while waited_for:
            lacks = dict(zip(waited_for, await asyncio.gather(*map(self._lacks, waited_for)), strict=True))
            waited_for = [each for each in waited_for if lacks[each] is not None]
            if waited_for and (line := f"  waiting for {waited_for[0]}: {lacks[waited_for[0]]}") != told:
                told = line
                self._tell(line + (f" (and {len(waited_for) - 1} more)" if len(waited_for) > 1 else ""))
            if waited_for and asyncio.get_running_loop().time() > deadline:
                raise InstallError("not ready in time: " + "; ".join(f"{each}: {lacks[each]}" for each in waited_for))
            if waited_for:
                await asyncio.sleep(_POLL_SECONDS)

    async def _lacks(self, what: Identity) -> str | None:
        try:
            return missing(await self._cluster.get(what.resource, what.name, what.namespace))
        except ApiError as error:
            if error.unavailable:
                return str(error)
            raise

    async def _prune(self, objects: Iterable[Identity]) -> None:
        gone = sorted((each for each in objects if each.kind not in _KEPT), key=lambda each: -each.rank)
        for each in gone:
            self._tell(f"no longer wanted: {each}")
            await delete(self._cluster, each)


async def delete(cluster: Cluster, what: Identity) -> bool:
    """Delete an object; whether it was there."""
    try:
        await cluster.delete(what.resource, what.name, what.namespace or None)
    except ApiError as error:
        if error.not_found:
            return False
        raise
    return True


def _counted(documents: Iterable[Document]) -> str:
    kinds: dict[str, int] = {}
    for document in documents:
        kinds[document["kind"]] = kinds.get(document["kind"], 0) + 1
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items())
