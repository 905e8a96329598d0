"""The models have exactly the fields of Istio's CRDs, with their types, enumerations and bounds."""

import json
from pathlib import Path

import msgspec
import pytest

from crds.fields import leaf_paths
from crds.registry import ISTIO_KINDS

COUNTS = {
    "VirtualService": 119,
    "DestinationRule": 293,
    "Gateway": 29,
    "ServiceEntry": 18,
    "Sidecar": 73,
    "WorkloadEntry": 7,
    "WorkloadGroup": 25,
    "EnvoyFilter": 41,
    "ProxyConfig": 4,
    "AuthorizationPolicy": 36,
    "PeerAuthentication": 3,
    "RequestAuthentication": 25,
    "Telemetry": 34,
    "WasmPlugin": 25,
    "TrafficExtension": 22,
}


def written_down() -> dict[str, tuple[list[str], dict[str, dict[str, object]]]]:
    """The list beside this test: kind → (words of its head line, fields)."""
    kinds: dict[str, tuple[list[str], dict[str, dict[str, object]]]] = {}
    fields: dict[str, dict[str, object]] = {}
    for line in Path(__file__).with_name("istio_fields.txt").read_text().splitlines():
        if line.startswith("  "):
            path, type_, *rest = line.strip().split(" ", 2)
            fields[path] = {"type": type_, **(json.loads(rest[0]) if rest else {})}
        elif line and not line.startswith("#"):
            kind, *head = line.split()
            fields = {}
            kinds[kind] = (head, fields)
    return kinds


LIST = written_down()


def test_every_kind_is_there() -> None:
    assert list(ISTIO_KINDS) == list(COUNTS) == list(LIST)
    assert sum(COUNTS.values()) == 754


@pytest.mark.parametrize("kind", COUNTS)
def test_fields_equal_the_list(kind: str) -> None:
    ours = {path: msgspec.to_builtins(field) for path, field in leaf_paths(kind).items()}
    theirs = {
        path: {key: tuple(value) if isinstance(value, list) else value for key, value in field.items()}
        for path, field in LIST[kind][1].items()
    }
    assert ours == theirs
    assert len(ours) == COUNTS[kind]


@pytest.mark.parametrize("kind", COUNTS)
def test_the_kind_is_served_as_istio_serves_it(kind: str) -> None:
    resource = ISTIO_KINDS[kind].resource
    served = ",".join(sorted(resource.versions))
    short = ",".join(resource.short_names)
    assert LIST[kind][0] == [
        resource.group,
        resource.plural,
        f"storage={resource.storage}",
        f"served={served}",
        f"short={short}",
    ]
