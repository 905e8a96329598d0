"""Judgements on what a cluster holds: pure, each about one thing that would keep an installation from working."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from dragoman.installation.bundle import MANAGED_BY, MANAGER
from dragoman.installation.findings import Finding, Level
from dragoman.installation.objects import Document

OLDEST: Final = (1, 31)
"""The oldest Kubernetes that is tried: preStop `sleep` and sidecar containers are on by default there."""

_ENFORCE: Final = "pod-security.kubernetes.io/enforce"


def minor_version(text: str) -> tuple[int, int]:
    """Major and minor of a version such as v1.36.3+k3s1."""
    match = re.match(r"v?(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def api_version(git_version: str) -> Finding:
    """Whether the API server is new enough."""
    if minor_version(git_version) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return Finding("version", Level.ERROR, f"Kubernetes {git_version}", f"{oldest} or newer is needed")
    return Finding("version", Level.OK, f"Kubernetes {git_version}")


def kubelets(nodes: Iterable[Document]) -> Iterator[Finding]:
    """Whether every node runs sidecar containers and preStop `sleep`."""
    old = {
        node["metadata"]["name"]: version
        for node in nodes
        if minor_version(version := node.get("status", {}).get("nodeInfo", {}).get("kubeletVersion", "")) < OLDEST
    }
    if old:
        names = ", ".join(f"{name} ({version or 'unknown'})" for name, version in sorted(old.items())[:5])
        yield Finding("nodes", Level.WARNING, f"{len(old)} with an older kubelet: {names}", "upgrade them first")


def control_planes(deployments: Iterable[Document], namespace: str, name: str) -> Iterator[Finding]:
    """Other control planes, and whether one stands where this is to go. `name` is that of our Deployment."""
    for each in deployments:
        metadata = each["metadata"]
        labels = metadata.get("labels", {})
        where = f"{metadata['namespace']}/{metadata['name']}"
        revision = labels.get("istio.io/rev") or "default"
        if labels.get(MANAGED_BY) == MANAGER:
            yield Finding("control planes", Level.OK, f"{where}: Dragoman, revision {revision}")
        elif (metadata["namespace"], metadata["name"]) == (namespace, name):
            remedy = "install beside it with --revision, or take it away first"
            yield Finding("control planes", Level.ERROR, f"{where}: another control plane has this name", remedy)
        else:
            yield Finding(
                "control planes",
                Level.WARNING,
                f"{where}: another control plane, revision {revision}",
                "objects without istio.io/rev are read by both: see its discoverySelectors",
            )


def webhooks(ours: Sequence[Document], theirs: Iterable[Document], services: frozenset[str]) -> Iterator[Finding]:
    """Injectors of others that would have the same pods, and such as nobody answers. `services` are NAMESPACE/NAME."""
    names = {each["metadata"]["name"]: each["metadata"]["labels"]["istio.io/rev"] for each in ours}
    wanted = {_selection(webhook) for each in ours for webhook in each["webhooks"]}
    for each in theirs:
        metadata = each["metadata"]
        if (own := names.get(metadata["name"])) is not None:
            before = metadata.get("labels", {}).get("istio.io/rev")
            if before != own:
                message = f"{metadata['name']} is of revision {before}, and would be of {own}"
                yield Finding("webhooks", Level.WARNING, message, "meant, if a tag is to move")
            continue
        found = [webhook for webhook in each.get("webhooks") or () if webhook["name"].endswith(".istio.io")]
        if any(_selection(webhook) in wanted for webhook in found):
            yield Finding(
                "webhooks",
                Level.ERROR,
                f"{metadata['name']} injects the same namespaces or pods",
                "install with a --revision of its own, or take that configuration away",
            )
        for service in sorted({_service(webhook) for webhook in found} - services - {""}):
            yield Finding(
                "webhooks",
                Level.WARNING,
                f"{metadata['name']} calls the Service {service}, which does not exist",
                f"left over: kubectl delete {each['kind'].lower()} {metadata['name']}",
            )


def _selection(webhook: Mapping[str, Any]) -> str:
    def expressions(selector: Mapping[str, Any] | None) -> list[str]:
        selector = selector or {}
        equal = [
            {"key": key, "operator": "In", "values": [value]}
            for key, value in (selector.get("matchLabels") or {}).items()
        ]
        return sorted(json.dumps(each, sort_keys=True) for each in [*equal, *(selector.get("matchExpressions") or ())])

    return json.dumps([expressions(webhook.get(key)) for key in ("namespaceSelector", "objectSelector")])


def _service(webhook: Mapping[str, Any]) -> str:
    service = webhook["clientConfig"].get("service")
    return f"{service['namespace']}/{service['name']}" if service else ""


def definitions(ours: Iterable[Document], theirs: Mapping[str, Document]) -> Iterator[Finding]:
    """Custom resource definitions that are there: ours must have every version that they serve or have stored."""
    replaced = []
    for each in ours:
        name = each["metadata"]["name"]
        there = theirs.get(name)
        if there is None:
            continue
        served = {version["name"] for version in there["spec"]["versions"] if version["served"]}
        stored = set(there.get("status", {}).get("storedVersions", ()))
        newer = sorted((served | stored) - {version["name"] for version in each["spec"]["versions"]})
        if newer:
            yield Finding(
                "CRDs",
                Level.ERROR,
                f"{name} has {', '.join(newer)}, which this version does not know",
                "use a newer Dragoman, or --set base.enableCRDs=false to leave them as they are",
            )
        elif there["metadata"].get("labels", {}).get(MANAGED_BY) != MANAGER:
            replaced.append(name)
    if replaced:
        yield Finding(
            "CRDs",
            Level.WARNING,
            f"{len(replaced)} of another installation, such as {replaced[0]}, would get our schemas",
            "the versions are the same; --set base.enableCRDs=false leaves them as they are",
        )


def pod_security(namespaces: Iterable[Document], own: str, *, cni: bool) -> Iterator[Finding]:
    """Namespaces whose pod security would refuse what is installed or injected there."""
    for each in namespaces:
        labels = each["metadata"].get("labels") or {}
        name, level = each["metadata"]["name"], labels.get(_ENFORCE, "privileged")
        if name == own and cni and level != "privileged":
            remedy = f"kubectl label namespace {name} {_ENFORCE}=privileged --overwrite"
            yield Finding("pod security", Level.ERROR, f"{name} enforces {level}: the node agent is refused", remedy)
        injected = labels.get("istio-injection") == "enabled" or "istio.io/rev" in labels
        if injected and not cni and level != "privileged":
            yield Finding(
                "pod security",
                Level.WARNING,
                f"{name} enforces {level}: pods that capture traffic by themselves need NET_ADMIN and are refused",
                "--set cni.enabled=true",
            )
