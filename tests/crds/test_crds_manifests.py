"""CustomResourceDefinitions as documents; what an API server makes of them: test_crds_served.py."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crds import Invalid, decode
from crds.fields import leaf_paths
from crds.manifests import definition, definitions
from crds.manifests.descriptions import TEXTS
from crds.manifests.documents import to_yaml
from crds.problem import Severity
from crds.registry import ISTIO_KINDS
from crds.shape import ListOf, MapOf, Message, Shape, message_of
from crds.validate import validate
from tests.crds.test_crds_fields import LIST

ROOT = Path(__file__).parents[2]
KINDS = sorted(ISTIO_KINDS)
_ANNOTATIONS_LIMIT = 256 * 1024  # Kubernetes: apimachinery, ValidateAnnotations


def leaves(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    if properties := schema.get("properties"):
        for name, inner in properties.items():
            yield from leaves(inner, f"{path}.{name}" if path else name)
    elif (items := schema.get("items")) and "properties" in items:
        yield from leaves(items, f"{path}[]")
    elif (values := schema.get("additionalProperties")) and "properties" in values:
        yield from leaves(values, f"{path}{{}}")
    else:
        yield path


def schema_of(document: dict[str, Any], version: int = 0) -> dict[str, Any]:
    held: dict[str, Any] = document["spec"]["versions"][version]["schema"]["openAPIV3Schema"]
    return held


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_versions_are_those_of_istio(kind: str) -> None:
    """As the list of Istio's fields says; Istio's objects are then ours, and ours Istio's."""
    document = definition(ISTIO_KINDS[kind])
    group, plural, *_ = LIST[kind][0]
    spec = document["spec"]
    assert document["metadata"]["name"] == f"{plural}.{group}"
    assert (spec["group"], spec["names"]["plural"], spec["scope"]) == (group, plural, "Namespaced")
    assert spec["names"]["categories"] == ["istio-io", group.removesuffix(".istio.io") + "-istio-io"]
    stored = [version["name"] for version in spec["versions"] if version["storage"]]
    served = ",".join(sorted(version["name"] for version in spec["versions"] if version["served"]))
    short = ",".join(spec["names"].get("shortNames", ()))
    assert LIST[kind][0][2:] == [f"storage={stored[0]}", f"served={served}", f"short={short}"]
    assert len(stored) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_in_every_version(kind: str) -> None:
    """What a schema does not name an API server drops, and nobody could report it."""
    document = definition(ISTIO_KINDS[kind])
    for index in range(len(document["spec"]["versions"])):
        spec = schema_of(document, index)["properties"]["spec"]
        assert set(leaves(spec)) == set(leaf_paths(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_a_spec_is_required_where_an_object_without_one_means_nothing(kind: str) -> None:
    document = definition(ISTIO_KINDS[kind])
    bare = {"apiVersion": ISTIO_KINDS[kind].resource.api_version(), "kind": kind, "metadata": {"name": "a"}}
    try:
        means = not any(problem.severity is Severity.ERROR for problem in validate(decode(bare)))
    except Invalid:
        means = False
    assert ("spec" in schema_of(document).get("required", ())) is not means


@pytest.mark.parametrize("kind", KINDS)
def test_it_can_be_applied_by_kubectl(kind: str) -> None:
    """kubectl apply keeps the whole document in an annotation."""
    assert len(json.dumps(definition(ISTIO_KINDS[kind]))) < _ANNOTATIONS_LIMIT


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_explained(kind: str) -> None:
    """For `kubectl explain`."""

    def unexplained(schema: dict[str, Any], path: str) -> Iterator[str]:
        for name, inner in schema.get("properties", {}).items():
            where = f"{path}.{name}"
            if not inner.get("description"):
                yield where
            yield from unexplained(inner, where)
            yield from unexplained(inner.get("items", {}), f"{where}[]")
            yield from unexplained(inner.get("additionalProperties", {}), f"{where}{{}}")

    assert list(unexplained(schema_of(definition(ISTIO_KINDS[kind])), "")) == []


def test_the_chart_has_the_current_definitions() -> None:
    file = ROOT / "deploy/charts/base/files/crds.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(to_yaml(definitions()))
    assert file.read_text() == to_yaml(definitions()), f"run: UPDATE_GOLDEN=1 python -m pytest {__file__}"


def test_descriptions_are_of_fields_that_there_are() -> None:
    messages = {type_.__name__: type_ for kind in ISTIO_KINDS.values() for type_ in messages_of(message_of(kind))}
    for message, texts in TEXTS.items():
        if message != "*":
            assert set(texts) <= set(message_of(messages[message]).fields), message


def messages_of(shape: Shape) -> Iterator[type[msgspec.Struct]]:
    match shape:
        case Message(cls, _, fields):
            yield cls
            for field in fields.values():
                yield from messages_of(field.shape)
        case ListOf(item) | MapOf(_, item):
            yield from messages_of(item)
