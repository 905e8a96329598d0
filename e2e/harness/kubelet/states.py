"""The state of a container, and the status of a pod that it is told in (Kubernetes: Pod Lifecycle)."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from e2e.harness.kubelet.watching import Object


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not started yet, or not again."""

    reason: str
    message: str = ""

    def as_json(self) -> Mapping[str, Any]:
        """As a ContainerState."""
        return {"waiting": {"reason": self.reason, **({"message": self.message} if self.message else {})}}


@dataclass(frozen=True, slots=True)
class Running:
    """It runs."""

    since: str

    def as_json(self) -> Mapping[str, Any]:
        """As a ContainerState."""
        return {"running": {"startedAt": self.since}}


@dataclass(frozen=True, slots=True)
class Terminated:
    """It ended; a signal counts as its number and 128."""

    exit_code: int
    since: str
    until: str
    reason: str = field(default="")

    def as_json(self) -> Mapping[str, Any]:
        """As a ContainerState."""
        reason = self.reason or ("Completed" if self.exit_code == 0 else "Error")
        times = {"startedAt": self.since, "finishedAt": self.until}
        return {"terminated": {"exitCode": self.exit_code, "reason": reason, **times}}


State = Waiting | Running | Terminated


@dataclass(frozen=True, slots=True)
class ContainerStatus:
    """What is told of a container."""

    name: str
    image: str
    state: State
    last_state: State | None
    restarts: int
    started: bool
    ready: bool

    def as_json(self) -> Mapping[str, Any]:
        """As a ContainerStatus."""
        return {
            "name": self.name,
            "image": self.image,
            "imageID": self.image,
            "containerID": f"namespace://{self.name}",
            "state": self.state.as_json(),
            "lastState": self.last_state.as_json() if self.last_state else {},
            "restartCount": self.restarts,
            "started": self.started,
            "ready": self.ready,
        }


def now() -> str:
    """The time as Kubernetes writes it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def pod_status(
    before: Object,
    init: Sequence[ContainerStatus],
    main: Sequence[ContainerStatus],
    *,
    sidecars: frozenset[str],
    address: str,
    node_address: str,
    finished: bool,
) -> Mapping[str, Any]:
    """The status of a pod, of which `before` is the one that was told last; `sidecars` are among the `init`.

    `finished` says that no container is started any more.
    """
    initialized = all(_is_past(status, status.name in sidecars) for status in init)
    lasting = (*(status for status in init if status.name in sidecars), *main)
    ready = initialized and not finished and all(status.ready for status in lasting)
    conditions = {
        "PodReadyToStartContainers": not finished,
        "Initialized": initialized,
        "ContainersReady": ready,
        "Ready": ready,
        "PodScheduled": True,
    }
    told = {each["type"]: each for each in before.get("conditions", ())}
    return {
        "phase": _phase(init, main, finished),
        "podIP": address,
        "podIPs": [{"ip": address}],
        "hostIP": node_address,
        "hostIPs": [{"ip": node_address}],
        "startTime": before.get("startTime", now()),
        "initContainerStatuses": [status.as_json() for status in init],
        "containerStatuses": [status.as_json() for status in main],
        "conditions": [_condition(told.get(kind), kind, holds) for kind, holds in conditions.items()],
    }


def _is_past(status: ContainerStatus, sidecar: bool) -> bool:
    if sidecar:
        return status.started
    return isinstance(status.state, Terminated) and status.state.exit_code == 0


def _phase(init: Sequence[ContainerStatus], main: Sequence[ContainerStatus], finished: bool) -> str:
    ended = [status.state for status in main if isinstance(status.state, Terminated)]
    if finished:
        succeeded = len(ended) == len(main) and all(state.exit_code == 0 for state in ended)
        return "Succeeded" if succeeded else "Failed"
    begun = any(isinstance(status.state, Running) or status.restarts for status in main) or ended
    return "Running" if begun else "Pending"


def _condition(told: Object | None, kind: str, holds: bool) -> Mapping[str, Any]:
    status = "True" if holds else "False"
    if told is not None and told["status"] == status:
        return told
    return {"type": kind, "status": status, "lastTransitionTime": now()}
