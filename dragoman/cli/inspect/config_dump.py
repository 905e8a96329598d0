"""The resources in a config dump: a control plane's, Envoy's own, or a file of either (Envoy: envoy.admin.v3).

Envoy writes the names of fields as in its .proto files, the control plane as in protobuf's canonical JSON. Programs get
each as it was written; tables are made of the latter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from dragoman.cli.inspect.config_tables import Entry

Dump = Mapping[str, Any]


class Resource(NamedTuple):
    """One resource as the dump has it, and for tables."""

    written: Any
    entry: Entry


ACTIVE, WARMING = "ACTIVE", "WARMING"
"""States of a resource at an Envoy."""

_PLACES: Final[Mapping[str, tuple[str, tuple[tuple[str, tuple[str, ...], str], ...]]]] = {
    "clusters": (
        "ClustersConfigDump",
        (
            ("staticClusters", ("cluster",), ACTIVE),
            ("dynamicActiveClusters", ("cluster",), ACTIVE),
            ("dynamicWarmingClusters", ("cluster",), WARMING),
        ),
    ),
    "listeners": (
        "ListenersConfigDump",
        (
            ("staticListeners", ("listener",), ACTIVE),
            ("dynamicListeners", ("activeState", "listener"), ACTIVE),
            ("dynamicListeners", ("warmingState", "listener"), WARMING),
        ),
    ),
    "routes": (
        "RoutesConfigDump",
        (("staticRouteConfigs", ("routeConfig",), ACTIVE), ("dynamicRouteConfigs", ("routeConfig",), ACTIVE)),
    ),
    "endpoints": (
        "EndpointsConfigDump",
        (
            ("staticEndpointConfigs", ("endpointConfig",), ACTIVE),
            ("dynamicEndpointConfigs", ("endpointConfig",), ACTIVE),
        ),
    ),
    "secrets": (
        "SecretsConfigDump",
        (
            ("staticSecrets", ("secret",), ACTIVE),
            ("dynamicActiveSecrets", ("secret",), ACTIVE),
            ("dynamicWarmingSecrets", ("secret",), WARMING),
        ),
    ),
}
"""Message of a section, and in it: the list, where in its entries the resource is, and what state that means."""


def resources(dump: Dump, section: str) -> list[Resource]:
    """The resources of a section, without the dump's own framing, by name; none where the dump lacks the section."""
    return _resources(dump, section, ("static", "dynamic"))


def dynamic_resources(dump: Dump, section: str) -> list[Resource]:
    """Of these the ones that came over xDS, and not by the bootstrap or within another."""
    return _resources(dump, section, ("dynamic",))


def _resources(dump: Dump, section: str, origins: tuple[str, ...]) -> list[Resource]:
    message, places = _PLACES[section]
    found = []
    for part in dump.get("configs", ()):
        if part.get("@type", "").endswith(f".{message}"):
            for field, path, state in places:
                if not field.startswith(origins):
                    continue
                for held in _field(part, field) or ():
                    written = _at(held, path)
                    if written is not None:
                        found.append(resource(_without_type(written), state))
    return sorted(found, key=lambda each: str(each.entry.content.get("name") or each.entry.content.get("clusterName")))


def resource(written: Any, state: str = ACTIVE) -> Resource:
    """A resource out of what was written."""
    return Resource(written, Entry(canonical(written), state))


def bootstrap(dump: Dump) -> Any:
    """What Envoy was started with; None in a dump of a control plane, which does not know."""
    for part in dump.get("configs", ()):
        if part.get("@type", "").endswith(".BootstrapConfigDump"):
            return part.get("bootstrap")
    return None


def _at(held: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        held = _field(held, step)
        if held is None:
            return None
    return held


def _field(message: Mapping[str, Any], name: str) -> Any:
    """A field under its canonical name or that of the .proto file."""
    return message.get(name, message.get(_proto_name(name)))


def _proto_name(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _without_type(message: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key != "@type"}


def canonical(value: Any) -> Any:
    """The same with every key in camel case, those of free-form maps too."""
    if isinstance(value, Mapping):
        return {_camel(key): canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [canonical(item) for item in value]
    return value


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return name if not head or not tail else head + "".join(part[:1].upper() + part[1:] for part in tail)
