"""The containers and volumes of a pod with a sidecar: the author's, ours, and which goes over which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from crds.codes import problem
from crds.problem import Problem
from dragoman.mesh.proxy_id import ProxyType
from dragoman.sidecar.injection import probes, proxy_container
from dragoman.sidecar.injection.capture_container import INIT, VALIDATION, capture_container
from dragoman.sidecar.injection.options import Options
from dragoman.sidecar.injection.overlay import merge
from dragoman.sidecar.injection.proxy_container import PROXY
from dragoman.sidecar.injection.settings import InjectionSettings, Json
from dragoman.sidecar.status_listener import Probe

_AUTO: Final = "auto"
_LISTS: Final = ("initContainers", "containers")
_OURS: Final = (PROXY, INIT, VALIDATION)


@dataclass(frozen=True, slots=True)
class Parts:
    """A pod's spec taken apart. `author` are containers that the author wrote under our names, by their list.

    `spec` is the rest, with its probes led to the sidecar; `originals` are those probes as they were, by their path.
    """

    spec: dict[str, Json]
    author: Mapping[str, list[Json]]
    probes: tuple[Probe, ...]
    originals: Mapping[str, Json]
    problems: tuple[Problem, ...]


def taken_apart(spec: Mapping[str, Json], kind: ProxyType, chosen: Options) -> Parts:
    """The parts of the author's spec."""
    rest = dict(spec)
    author: dict[str, list[Json]] = {}
    made: list[probes.Rewritten] = []
    rewriting = kind is ProxyType.SIDECAR and chosen.rewrite_probes and chosen.status_port > 0
    for key in _LISTS:
        author[key] = [each for each in spec.get(key) or () if each.get("name") in _OURS]
        kept = []
        for index, container in enumerate(spec.get(key) or ()):
            if container.get("name") in _OURS:
                continue
            if rewriting:
                made.append(probes.rewrite(container, chosen.status_port, f"spec.{key}[{index}]"))
                container = made[-1].container
            kept.append(container)
        if key in rest:
            rest[key] = kept
    return Parts(
        rest,
        author,
        tuple(probe for each in made for probe in each.probes),
        {path: handler for each in made for path, handler in each.originals.items()},
        (*(found for each in made for found in each.problems), *_in_vain(author)),
    )


def _in_vain(author: Mapping[str, list[Json]]) -> list[Problem]:
    written = any("args" in each for key in _LISTS for each in author[key] if each.get("name") == PROXY)
    path, why = f"spec.containers[{PROXY}].args", "these take the place of the bootstrap, which is an argument"
    return [problem("DRG0604", path, why)] if written else []


def with_ours(
    spec: Mapping[str, Json], kind: ProxyType, proxy: Json, chosen: Options, settings: InjectionSettings
) -> dict[str, Json]:
    """The spec with our containers, volumes and pull secrets."""
    after = dict(spec)
    place = "initContainers" if "restartPolicy" in proxy else "containers"
    after[place] = [*(after.get(place) or ()), proxy]
    if kind is ProxyType.SIDECAR and (capture := capture_container(chosen, settings)) is not None:
        after["initContainers"] = [*(after.get("initContainers") or ()), capture]
    ours = proxy_container.volumes(chosen, settings)
    names = {volume["name"] for volume in ours}
    after["volumes"] = [*(volume for volume in spec.get("volumes") or () if volume.get("name") not in names), *ours]
    if settings.image_pull_secrets:
        known = [*(spec.get("imagePullSecrets") or ())]
        new = [{"name": name} for name in settings.image_pull_secrets if {"name": name} not in known]
        after["imagePullSecrets"] = [*known, *new]
    return after


def with_authors(spec: Mapping[str, Json], author: Mapping[str, list[Json]]) -> dict[str, Json]:
    """What the author wrote of our containers goes over what we made of them, wherever those stand."""
    after = dict(spec)
    for written in (*author["containers"], *author["initContainers"]):
        overlay = {key: value for key, value in written.items() if key != "image" or value != _AUTO}
        for key in _LISTS:
            after[key] = [
                merge(container, overlay) if container.get("name") == overlay["name"] else container
                for container in after.get(key) or ()
            ]
    return {key: value for key, value in after.items() if value or key not in _LISTS}


def in_order(spec: dict[str, Json], chosen: Options) -> dict[str, Json]:
    """Who starts before whom (Istio: pkg/kube/inject, reorderPod).

    A native sidecar starts before all other init containers, so that they are in the mesh; one that is no init
    container cannot carry their traffic yet, so capture comes after them.
    """
    containers, init = spec["containers"], spec.get("initContainers") or []
    first = chosen.config.hold_application_until_proxy_starts
    containers = sorted(containers, key=lambda each: (each.get("name") == PROXY) is not first)
    if any(each.get("name") == PROXY for each in init):
        ranks = {INIT: 0, VALIDATION: 0, PROXY: 1}
        init = sorted(init, key=lambda each: ranks.get(each.get("name"), 2))
    else:
        ranks = {VALIDATION: 0, INIT: 2}
        init = sorted(init, key=lambda each: ranks.get(each.get("name"), 1))
    return {**spec, "containers": containers, **({"initContainers": init} if init else {})}


def without_authors(spec: Mapping[str, Json], author: Mapping[str, list[Json]]) -> dict[str, Json]:
    """The spec without the containers that are kept as overrides: they count as added."""
    return {
        key: [item for item in value if item not in author[key]] if key in author else value
        for key, value in spec.items()
    }
