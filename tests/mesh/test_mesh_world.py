"""The world: whatever came before, cells hold what the objects in force put there."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from crds.decode import decode
from crds.meta import ObjectKey
from dragoman.mesh.inputs import VIRTUAL_SERVICE_HOSTS
from dragoman.mesh.world import World
from dragoman.sources.change import Change

NAMES = st.sampled_from("abc")
NAMESPACES = st.sampled_from(("one", "two"))
VALUES = st.sampled_from(("x", "y"))


def _meta(name: str, namespace: str, **more: object) -> dict[str, object]:
    return {"name": name, "namespace": namespace, **more}


def _service(name: str, namespace: str, value: str) -> dict[str, object]:
    spec = {"type": "ExternalName", "externalName": f"{value}.two.svc.cluster.local", "ports": []}
    return {"apiVersion": "v1", "kind": "Service", "metadata": _meta(name, namespace), "spec": spec}


def _slice(name: str, namespace: str, value: str) -> dict[str, object]:
    metadata = _meta(name, namespace, labels={"kubernetes.io/service-name": value})
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": "IPv4",
        "endpoints": [],
        "ports": [],
    }


def _pod(name: str, namespace: str, value: str) -> dict[str, object]:
    metadata = _meta(name, namespace, labels={"app": value, "all": "same"})
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"podIP": "10.0.0.1"}}


def _rule(name: str, namespace: str, value: str) -> dict[str, object]:
    created = "2026-01-01T00:00:00Z" if name == "a" else "2025-01-01T00:00:00Z"
    http = [{"match": [{"sourceLabels": {value: "1"}}], "route": [{"destination": {"host": "x"}}]}]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": _meta(name, namespace, creationTimestamp=created),
        "spec": {"hosts": [value, "both"], "gateways": ["mesh", "mesh", value], "http": http},
    }


OBJECTS = st.builds(
    lambda make, name, namespace, value: decode(make(name, namespace, value)),
    st.sampled_from((_service, _slice, _pod, _rule)),
    NAMES,
    NAMESPACES,
    VALUES,
)
GONE = st.builds(ObjectKey, st.sampled_from(("Service", "EndpointSlice", "Pod", "VirtualService")), NAMESPACES, NAMES)
BATCHES = st.lists(st.lists(OBJECTS | GONE, max_size=6), max_size=6)


@given(BATCHES)
def test_cells_depend_on_the_objects_in_force_and_not_on_how_they_came(batches: list[list[Any]]) -> None:
    world, cells = World(), {}
    for batch in batches:
        moves = [
            Change(entry, world.objects.get(entry), None)
            if isinstance(entry, ObjectKey)
            else Change(entry.key, world.objects.get(entry.key), entry)
            for entry in batch
        ]
        for of, key, value in world.apply(moves):
            cells[of, key] = value
    afresh = World().apply(Change(obj.key, None, obj) for obj in world.objects.values())
    present = {cell: value for cell, value in cells.items() if value != cell[0].default}
    assert present == {(of, key): value for of, key, value in afresh}


def test_a_change_touches_only_cells_whose_value_it_changes() -> None:
    world = World()
    first = decode(_rule("a", "one", "x"))
    world.apply([Change(first.key, None, first), *(Change(o.key, None, o) for o in [decode(_rule("b", "one", "y"))])])
    labels = {"labels": {"unread": "true"}}
    second = decode({**_rule("a", "one", "x"), "metadata": {**_rule("a", "one", "x")["metadata"], **labels}})  # type: ignore[dict-item]
    touched = [of for of, _, _ in world.apply([Change(second.key, first, second)])]
    assert touched
    assert VIRTUAL_SERVICE_HOSTS not in touched
