"""What a control plane serves a proxy beside what its Envoy has, type by type, by the config dumps of both.

As `istioctl proxy-status POD` compares them (Istio: istioctl/pkg/writer/compare), and endpoints and secrets besides.
Envoy keeps the messages of clusters, listeners and routes as they came, so these are compared whole. What it shows of
endpoints it makes anew from its hosts, with what it found of their health and without the weights of localities; of
secrets only certificates are shown. What the bootstrap brought is no business of a control plane.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dragoman.cli.inspect.config_dump import ACTIVE, Dump, dynamic_resources
from dragoman.cli.inspect.config_tables import TABLES, Content, Entry
from dragoman.cli.inspect.redaction import is_blot

SECTIONS: Final = ("clusters", "listeners", "routes", "endpoints", "secrets")

_CONTEXT_LINES: Final = 3


@dataclass(frozen=True, slots=True)
class Change:
    """One resource that both have, in different versions."""

    name: str
    diff: tuple[str, ...]
    """Lines of a unified diff of the resource as JSON, from what is served to what Envoy has."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Of one type of resources; names are in order."""

    missing: tuple[str, ...] = ()
    """Served, and not at the Envoy."""
    warming: tuple[str, ...] = ()
    """Of these the ones that Envoy has received and does not use yet (Envoy: "Resource warming")."""
    extra: tuple[str, ...] = ()
    """At the Envoy, and not served."""
    changed: tuple[Change, ...] = ()

    @property
    def match(self) -> bool:
        """Whether both have the same."""
        return not (self.missing or self.extra or self.changed)


def compare(served: Dump, had: Dump) -> dict[str, Comparison]:
    """Section by section, what a control plane's dump has beside that of an Envoy; both without secrets."""
    return {section: _compare(section, served, had) for section in SECTIONS}


def _compare(section: str, served: Dump, had: Dump) -> Comparison:
    ours = _in_use(section, served)
    theirs = _in_use(section, had)
    if section == "secrets":  # an Envoy's bootstrap may name others, by files
        theirs = {name: entry for name, entry in theirs.items() if name in ours}
    missing = sorted(ours.keys() - theirs.keys())
    received = {_name(each.entry) for each in dynamic_resources(had, section)}
    return Comparison(
        missing=tuple(missing),
        warming=tuple(name for name in missing if name in received),
        extra=tuple(sorted(theirs.keys() - ours.keys())),
        changed=tuple(_changes(section, ours, theirs)),
    )


def _in_use(section: str, dump: Dump) -> dict[str, Content]:
    """Resources by name; not those that warm, and those that Envoy asks for by name only where something names them.

    Routes stay at an Envoy while a listener that is gone drains, and it has hosts of clusters that are not discovered.
    """
    wanted: set[str] | None = None
    if section == "routes":
        wanted = {name for listener in _in_use("listeners", dump).values() for name in _routes_of(listener)}
    elif section == "endpoints":
        clusters = _in_use("clusters", dump).values()
        wanted = {
            each.get("edsClusterConfig", {}).get("serviceName") or each["name"]
            for each in clusters
            if each.get("type") == "EDS"
        }
    found = {_name(each.entry): each.entry for each in dynamic_resources(dump, section) if each.entry.state == ACTIVE}
    return {name: entry.content for name, entry in found.items() if wanted is None or name in wanted}


def _name(entry: Entry) -> str:
    return str(entry.content.get("name") or entry.content.get("clusterName"))


def _routes_of(value: Any) -> Iterator[str]:
    """Names of the route configurations that a listener discovers, wherever in it a connection manager is."""
    if isinstance(value, Mapping):
        if isinstance(rds := value.get("rds"), Mapping):
            yield str(rds.get("routeConfigName"))
        for item in value.values():
            yield from _routes_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from _routes_of(item)


def _changes(section: str, ours: Mapping[str, Content], theirs: Mapping[str, Content]) -> Iterator[Change]:
    for name in sorted(ours.keys() & theirs.keys()):
        if section == "secrets" and ours[name].keys() <= {"name"}:
            continue  # a gateway's credential is a name to the control plane's pages
        found = _comparable(section, theirs[name])
        wanted = _like(_comparable(section, ours[name]), found)
        if wanted != found:
            diff = difflib.unified_diff(
                _lines(wanted), _lines(found), f"{name} (served)", f"{name} (Envoy)", lineterm="", n=_CONTEXT_LINES
            )
            yield Change(name, tuple(diff))


def _like(wanted: Any, found: Any) -> Any:
    """What is wanted, written as Envoy writes the same: whole numbers, and a blot where it shows none."""
    if isinstance(wanted, str):
        return found if is_blot(found) else wanted
    if isinstance(wanted, float) and wanted.is_integer():
        return int(wanted)
    if isinstance(wanted, list):
        return [_like(*pair) for pair in zip(wanted, _padded(found, len(wanted)), strict=True)]
    if isinstance(wanted, Mapping):
        others = found if isinstance(found, Mapping) else {}
        return {key: _like(item, others.get(key)) for key, item in wanted.items()}
    return wanted


def _padded(found: Any, length: int) -> list[Any]:
    items = found if isinstance(found, list) else []
    return [*items, *([None] * length)][:length]


def _comparable(section: str, content: Content) -> Any:
    if section == "endpoints":
        return {"clusterName": content.get("clusterName"), "hosts": sorted(_hosts(content), key=json.dumps)}
    if section == "secrets":
        return {"name": content.get("name"), "shown": [" ".join(row) for row in TABLES[section].rows(Entry(content))]}
    return content


def _hosts(assignment: Content) -> Iterator[dict[str, Any]]:
    for group in assignment.get("endpoints", ()):
        for host in group.get("lbEndpoints", ()):
            yield {
                "address": host["endpoint"]["address"],
                "priority": group.get("priority", 0),
                "locality": group.get("locality", {}),
                "weight": host.get("loadBalancingWeight", 1),
                "metadata": host.get("metadata", {}),
            }


def _lines(content: Any) -> list[str]:
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False).splitlines()
