"""Whether a control plane that is installed still has the rights that it was installed with."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

from dragoman.installation.at_once import gathered
from dragoman.installation.bundle import Bundle
from dragoman.installation.findings import Finding, Level
from dragoman.installation.objects import Document
from dragoman.kube import ApiError, Cluster
from dragoman.kube.resources import SERVICE_ACCOUNTS, SUBJECT_ACCESS_REVIEWS


class _Right(NamedTuple):
    account: str
    """Of a service account, as `namespace/name`."""
    group: str
    resource: str
    name: str
    namespace: str
    verb: str


async def held_rights(cluster: Cluster, bundle: Bundle) -> AsyncIterator[Finding]:
    """What the service accounts of the bundle, where they exist, may not do of what its roles give them.

    A control plane goes on without a kind that it may not read. Raises ApiError where the API server cannot be reached.
    """
    wanted = tuple(dict.fromkeys(_rights(bundle)))
    there = {account for account in {right.account for right in wanted} if await _exists(cluster, account)}
    rights = [right for right in wanted if right.account in there]
    try:
        answers = await gathered(_is_held(cluster, right) for right in rights)
    except ApiError as error:
        if error.unavailable:
            raise
        yield Finding("rights", Level.WARNING, f"cannot look at those of the control plane: {error}", "ask it yourself")
        return
    lacking: dict[tuple[str, str], list[str]] = {}
    for right, held in zip(rights, answers, strict=True):
        if not held:
            resource = f"{right.resource}.{right.group}" if right.group else right.resource
            named = f" {right.name}" if right.name else ""
            where = f" in {right.namespace}" if right.namespace else ""
            lacking.setdefault((right.account, f"{resource}{named}{where}"), []).append(right.verb)
    for (account, what), verbs in lacking.items():
        problem = f"{account} is not allowed: {', '.join(verbs)} {what}"
        yield Finding("rights", Level.WARNING, problem, "install again, or see who takes it away")


def _rights(bundle: Bundle) -> Iterator[_Right]:
    roles = {(each["kind"], each["metadata"]["name"]): each for each in bundle.documents if "rules" in each}
    for binding in bundle.documents:
        reference = binding.get("roleRef", {})
        role = roles.get((reference.get("kind"), reference.get("name")))
        if role is not None:
            for subject in binding["subjects"]:
                account = f"{subject['namespace']}/{subject['name']}"
                yield from _of_role(role, account, binding["metadata"].get("namespace", ""))


def _of_role(role: Document, account: str, namespace: str) -> Iterator[_Right]:
    for rule in role["rules"]:
        names = rule.get("resourceNames") or [""]
        for group, resource, name, verb in itertools.product(
            rule.get("apiGroups", ()), rule.get("resources", ()), names, rule["verbs"]
        ):
            yield _Right(account, group, resource, name, namespace, verb)


async def _exists(cluster: Cluster, account: str) -> bool:
    namespace, _, name = account.partition("/")
    try:
        await cluster.get(SERVICE_ACCOUNTS, name, namespace)
    except ApiError as error:
        if error.unavailable:
            raise
        return False
    return True


async def _is_held(cluster: Cluster, right: _Right) -> bool:
    namespace, _, name = right.account.partition("/")
    resource, _, subresource = right.resource.partition("/")
    attributes = {"group": right.group, "resource": resource, "verb": right.verb}
    optional = {"subresource": subresource, "name": right.name, "namespace": right.namespace}
    review = {
        "apiVersion": SUBJECT_ACCESS_REVIEWS.api_version,
        "kind": SUBJECT_ACCESS_REVIEWS.kind,
        "spec": {
            # Users and groups of service accounts (Kubernetes: Authenticating, service account tokens).
            "user": f"system:serviceaccount:{namespace}:{name}",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"],
            "resourceAttributes": attributes | {key: value for key, value in optional.items() if value},
        },
    }
    answer = await cluster.create(SUBJECT_ACCESS_REVIEWS, review)
    return bool(answer["status"]["allowed"])
