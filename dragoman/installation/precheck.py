"""Looking at a cluster before something is installed in it: what would not work, and what to do about it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from dragoman.installation import judgements
from dragoman.installation.at_once import gathered
from dragoman.installation.bundle import MANAGER, Bundle
from dragoman.installation.findings import Finding, Level
from dragoman.installation.held_rights import held_rights
from dragoman.installation.objects import Document, identity
from dragoman.kube import ApiError, ApiResource, Cluster
from dragoman.kube.resources import (
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    NAMESPACES,
    NODES,
    SELF_SUBJECT_ACCESS_REVIEWS,
    SERVICES,
)

_VERBS: Final = ("get", "create", "patch", "delete")


async def precheck(cluster: Cluster, bundle: Bundle) -> list[Finding]:
    """Everything that is found, errors first. Raises ApiError where the API server cannot be reached."""
    version = msgspec.json.decode(await cluster.request("GET", "/version"), type=dict[str, Any])["gitVersion"]
    found = [judgements.api_version(version)]
    for look in (_rights, _roles, held_rights, _control_planes, _webhooks, _definitions, _namespaces, _nodes):
        found += [finding async for finding in look(cluster, bundle)]
    order = list(Level)
    return sorted(found, key=lambda finding: -order.index(finding.level))


async def _rights(cluster: Cluster, bundle: Bundle) -> AsyncIterator[Finding]:
    wanted = {
        (resource, namespace, verb)
        for resource, namespace in {
            (CONFIG_MAPS, bundle.namespace),
            *((identity(each).resource, identity(each).namespace) for each in bundle.documents),
        }
        for verb in _VERBS
        # Nothing takes a namespace or a definition away but whoever means to.
        if verb != "delete" or resource not in (NAMESPACES, CUSTOM_RESOURCE_DEFINITIONS)
    }
    order = sorted(wanted, key=lambda each: (str(each[0]), each[1], _VERBS.index(each[2])))
    answers = await gathered(_allowed(cluster, *each) for each in order)
    lacking: dict[tuple[str, str], list[str]] = {}
    for (resource, namespace, verb), allowed in zip(order, answers, strict=True):
        if not allowed:
            lacking.setdefault((str(resource), namespace), []).append(verb)
    for (name, namespace), verbs in lacking.items():
        where = f" in {namespace}" if namespace else ""
        yield Finding("rights", Level.ERROR, f"not allowed: {', '.join(verbs)} {name}{where}", "ask an administrator")
    if not lacking:
        yield Finding("rights", Level.OK, f"all {len(order)} that installing needs")


async def _allowed(cluster: Cluster, resource: ApiResource, namespace: str, verb: str) -> bool:
    attributes = {"group": resource.group, "resource": resource.plural, "verb": verb}
    if namespace:
        attributes["namespace"] = namespace
    review = {
        "apiVersion": SELF_SUBJECT_ACCESS_REVIEWS.api_version,
        "kind": SELF_SUBJECT_ACCESS_REVIEWS.kind,
        "spec": {"resourceAttributes": attributes},
    }
    answer = await cluster.create(SELF_SUBJECT_ACCESS_REVIEWS, review)
    return bool(answer["status"]["allowed"])


async def _roles(cluster: Cluster, bundle: Bundle) -> AsyncIterator[Finding]:
    # Who gives rights must have them; which ones are lacking only the API server says (Kubernetes: RBAC, privilege
    # escalation prevention).
    for document in bundle.documents:
        if document["kind"] == "ClusterRole":
            try:
                await cluster.apply(identity(document).resource, document, field_manager=MANAGER, dry_run=True)
            except ApiError as error:
                if error.unavailable:
                    raise
                yield Finding("rights", Level.ERROR, str(error), "ask an administrator")


async def _control_planes(cluster: Cluster, bundle: Bundle) -> AsyncIterator[Finding]:
    name = next((each["metadata"]["name"] for each in bundle.documents if each["kind"] == DEPLOYMENTS.kind), "")
    there, problems = await _listed(cluster, DEPLOYMENTS, label_selector="app=istiod")
    for finding in (*problems, *judgements.control_planes(there, bundle.namespace, name)):
        yield finding


async def _webhooks(cluster: Cluster, bundle: Bundle) -> AsyncIterator[Finding]:
    there, problems = await _listed(cluster, MUTATING_WEBHOOK_CONFIGURATIONS)
    services, others = await _listed(cluster, SERVICES)
    known = frozenset(f"{each['metadata']['namespace']}/{each['metadata']['name']}" for each in services)
    ours = [each for each in bundle.documents if each["kind"] == MUTATING_WEBHOOK_CONFIGURATIONS.kind]
    for finding in (*problems, *others):
        yield finding
    if not problems and not others:
        for finding in judgements.webhooks(ours, there, known):
            yield finding


async def _definitions(cluster: Cluster, bundle: Bundle) -> AsyncIterator[Finding]:
    there, problems = await _listed(cluster, CUSTOM_RESOURCE_DEFINITIONS)
    ours = [each for each in bundle.documents if each["kind"] == CUSTOM_RESOURCE_DEFINITIONS.kind]
    by_name = {each["metadata"]["name"]: each for each in there}
    for finding in (*problems, *judgements.definitions(ours, by_name)):
        yield finding


async def _namespaces(cluster: Cluster, bundle: Bundle) -> AsyncIterator[Finding]:
    there, problems = await _listed(cluster, NAMESPACES)
    cni = any(each["metadata"]["name"].startswith("istio-cni-node") for each in bundle.documents)
    for finding in (*problems, *judgements.pod_security(there, bundle.namespace, cni=cni)):
        yield finding


async def _nodes(cluster: Cluster, bundle: Bundle) -> AsyncIterator[Finding]:
    there, problems = await _listed(cluster, NODES)
    for finding in (*problems, *judgements.kubelets(there)):
        yield finding


async def _listed(
    cluster: Cluster, resource: ApiResource, *, label_selector: str = ""
) -> tuple[list[Document], list[Finding]]:
    try:
        return await cluster.list(resource, label_selector=label_selector), []
    except ApiError as error:
        if error.unavailable:
            raise
        return [], [
            Finding("rights", Level.WARNING, f"cannot look at {resource}: {error}", "what is there is not known")
        ]
