"""Golden cases: a folder of YAML in, what one proxy gets as canonical JSON out.

`tests/golden/<kind>/<case>/` holds `in.yaml` (ordinary Kubernetes and Istio YAML), `proxy` (a node id) and the outputs
`out.<kind>.yaml`. `<kind>` is the type of resource the case is about, or `all` for every type. A file `only` has
patterns of the names that the case is about, a line each. What telemetry adds to each listener is shown by name, in
full where the case has an (empty) file `whole`. `UPDATE_GOLDEN=1` rewrites outputs and deletes those that nothing
produces any more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, Encoded, to_json
from dragoman.engine import Call, Tree
from dragoman.mesh.proxies import GatewayView, InboundView, OutboundView, View
from tests.support.mesh_of_yaml import Mesh
from translators.gateways import gateway
from translators.sidecars import inbound, outbound

FOLDER = Path(__file__).parent.parent / "golden"
UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"

_FOLDED = {
    "envoy.access_loggers.stats",
    "envoy.filters.listener.set_filter_state",
    "envoy.filters.network.set_filter_state",
}

KINDS = {"listeners": LISTENER, "clusters": CLUSTER, "routes": ROUTE, "endpoints": ENDPOINT}


@dataclass(frozen=True, slots=True)
class Case:
    folder: Path

    def __str__(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def proxy(self) -> str:
        return (self.folder / "proxy").read_text().strip()

    def mesh(self) -> Mesh:
        return Mesh((self.folder / "in.yaml").read_text())

    def outputs(self, resources: Mapping[str, Mapping[str, Encoded]]) -> dict[str, Any]:
        """What the case's files should hold, by file name."""
        kinds = KINDS if self.folder.parent.name == "all" else (self.folder.parent.name,)
        return {f"out.{kind}.yaml": [*self._shown(resources[kind])] for kind in kinds}

    def _shown(self, resources: Mapping[str, Encoded]) -> Iterator[Any]:
        only, whole = self.folder / "only", (self.folder / "whole").exists()
        patterns = only.read_text().split() if only.exists() else ["*"]
        for name, resource in sorted(resources.items()):
            if any(fnmatchcase(name, pattern) for pattern in patterns):
                plain = _plain(resource)
                yield plain if whole else _folded(plain)

    def expected(self) -> dict[str, Any]:
        return {file.name: yaml.load(file.read_bytes(), yaml.CSafeLoader) for file in sorted(self.folder.glob("out.*"))}

    def update(self, outputs: Mapping[str, Any]) -> None:
        for file in self.folder.glob("out.*"):
            if file.name not in outputs:
                file.unlink()
        known = self.expected()
        for name, content in outputs.items():
            if known.get(name) == content:
                continue  # keys of maps come in any order
            (self.folder / name).write_text(yaml.safe_dump(content, sort_keys=False, width=120, allow_unicode=True))


def _plain(resource: Encoded) -> Any:
    """Canonical JSON in fresh dicts and lists, which YAML writes without anchors."""
    return json.loads(json.dumps(to_json(resource.type_url, resource.payload)))


def _folded(value: Any) -> Any:
    match value:
        case {"name": name, "typedConfig": _} if name in _FOLDED:
            return {"name": name}
        case dict():
            return {key: _folded(held) for key, held in value.items()}
        case list():
            return [_folded(held) for held in value]
    return value


def cases(*kinds: str) -> list[Case]:
    """The cases of the given kinds, of all without one; a folder without `in.yaml` is a mistake, or an orphan."""
    found = []
    for folder in sorted(FOLDER.glob("*/*")):
        if folder.is_dir() and folder.parent.name in (kinds or (*KINDS, "all")):
            if (folder / "in.yaml").exists():
                found.append(Case(folder))
            elif UPDATE:
                for file in folder.glob("out.*"):
                    file.unlink()
            else:
                raise FileNotFoundError(f"{folder}: no in.yaml")
    return found


def resources(mesh: Mesh, proxy: str) -> dict[str, dict[str, Encoded]]:
    """Everything a proxy gets: resources by kind and name."""
    found: dict[str, dict[str, Encoded]] = {kind: {} for kind in KINDS}
    kinds = {url: kind for kind, url in KINDS.items()}
    for view in mesh.views(proxy):
        for resource in _leaves(mesh, _tree(view)):
            if resource.type_url in kinds:
                found[kinds[resource.type_url]][resource.name] = resource
    return found


def _tree(view: View) -> Call[Any]:
    match view:
        case OutboundView():
            return outbound.call(view)
        case InboundView():
            return inbound.call(view)
        case GatewayView():
            return gateway.call(view)


def _leaves(mesh: Mesh, call: Call[Any]) -> Iterator[Encoded]:
    value = call.query(mesh.graph, *call.args)
    if isinstance(value, Tree):
        for child in value.calls:
            yield from _leaves(mesh, child)
    elif value is not None:
        yield value
