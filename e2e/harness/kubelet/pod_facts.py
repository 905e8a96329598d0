"""What a container may ask about its pod: fields and resources (Kubernetes: Downward API)."""

import math
import re
from dataclasses import dataclass

from e2e.harness.kubelet.watching import Object

NODE_CPUS = 2
NODE_MEMORY = 8 << 30
"""What a container without limits may use: the node's."""

_SUFFIXES: dict[str, float] = {"": 1, "m": 1e-3} | {
    suffix: base**power
    for base, suffixes in ((1000, ("k", "M", "G", "T")), (1024, ("Ki", "Mi", "Gi", "Ti")))
    for power, suffix in enumerate(suffixes, 1)
}


@dataclass(frozen=True, slots=True)
class PodFacts:
    """A pod, and where it runs."""

    pod: Object
    address: str
    node: str
    node_address: str

    def field(self, path: str) -> str:
        """The value of a `fieldRef`. Raises LookupError for one that is not offered."""
        metadata, spec = self.pod["metadata"], self.pod["spec"]
        if member := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path):
            return str(metadata.get(member[1], {}).get(member[2], ""))
        if path in ("metadata.labels", "metadata.annotations"):
            entries = metadata.get(path.partition(".")[2], {})
            return "".join(f'{key}="{_quoted(value)}"\n' for key, value in sorted(entries.items()))
        values: dict[str, str] = {
            "metadata.name": metadata["name"],
            "metadata.namespace": metadata["namespace"],
            "metadata.uid": metadata["uid"],
            "spec.nodeName": self.node,
            "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
            "status.hostIP": self.node_address,
            "status.hostIPs": self.node_address,
            "status.podIP": self.address,
            "status.podIPs": self.address,
        }
        return values[path]

    def resource(self, reference: Object, container: Object | None = None) -> str:
        """The value of a `resourceFieldRef`, in units of its divisor and rounded up. Raises LookupError."""
        name = reference.get("containerName")
        of = next(each for each in _containers(self.pod) if each["name"] == name) if name else container
        if of is None:
            raise LookupError("a resourceFieldRef of no container")
        side, _, resource = reference["resource"].partition(".")
        node = {"cpu": NODE_CPUS, "memory": NODE_MEMORY, "ephemeral-storage": NODE_MEMORY}
        amounts = of.get("resources", {}).get(side, {})
        amount = quantity(amounts[resource]) if resource in amounts else node[resource] if side == "limits" else 0
        divisor = quantity(reference.get("divisor", "1")) or 1
        return str(math.ceil(amount / divisor))


def quantity(text: str | float) -> float:
    """The number that a quantity stands for (Kubernetes: resource.Quantity). Raises ValueError."""
    parts = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", str(text))
    if parts is None or parts[2] not in _SUFFIXES:
        raise ValueError(f"not a quantity: {text!r}")
    return float(parts[1]) * _SUFFIXES[parts[2]]


def _containers(pod: Object) -> list[Object]:
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
