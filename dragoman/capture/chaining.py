"""Our plugin among those that a node's runtime runs for each pod (CNI specification 1.0: configuration lists)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

TYPE: Final = "dragoman-cni"
"""Name of the program, which is how a list names a plugin."""

Json = Any


@dataclass(frozen=True, slots=True)
class Plugin:
    """What the plugin is told: where the API server is, the node's files with its authority and a token for it, and
    which namespaces are none of its business."""

    server: str
    ca_file: str
    token_file: str
    exclude_namespaces: tuple[str, ...] = ()
    backend: str = "auto"

    def entry(self) -> dict[str, Json]:
        """As it stands in the list."""
        return {
            "type": TYPE,
            "kubernetes": {"server": self.server, "ca_file": self.ca_file, "token_file": self.token_file},
            "exclude_namespaces": list(self.exclude_namespaces),
            "backend": self.backend,
        }


def chained(configuration: Mapping[str, Json], plugin: Plugin) -> dict[str, Json]:
    """The list with our plugin as the last one: it needs the network that others make. Raises ValueError."""
    plugins = _plugins(configuration)
    if not plugins:
        raise ValueError("it lists no plugin to chain to")
    return {**configuration, "plugins": [*plugins, plugin.entry()]}


def without(configuration: Mapping[str, Json]) -> dict[str, Json]:
    """The list without it. Raises ValueError."""
    return {**configuration, "plugins": _plugins(configuration)}


def _plugins(configuration: Mapping[str, Json]) -> list[Json]:
    plugins = configuration.get("plugins")
    if not isinstance(plugins, Sequence) or not all(isinstance(each, Mapping) for each in plugins):
        raise ValueError("it is no list of plugins")
    return [each for each in plugins if each.get("type") != TYPE]
