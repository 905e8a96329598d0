"""Semantic validation: each rule with the code and the path it reports."""

from typing import Any

import msgspec
import pytest
import yaml

from crds import decode
from crds.authorizationpolicy import AuthorizationPolicy
from crds.codes import CODES
from crds.meta import IstioObject
from crds.problem import Severity
from crds.registry import ISTIO_KINDS
from crds.validate import validate
from crds.validate.bounds import regex
from tests.crds.specs import BAD, GOOD


def built(kind: str, spec: str, name: str = "a") -> Any:
    api_version = ISTIO_KINDS[kind].resource.api_version()
    doc = {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": yaml.safe_load(spec)}
    return decode(doc)


def found(kind: str, spec: str) -> list[tuple[str, str]]:
    return [(problem.code, problem.path) for problem in validate(built(kind, spec))]


@pytest.mark.parametrize(("kind", "spec", "expected"), BAD)
def test_reported_with_code_and_path(kind: str, spec: str, expected: list[tuple[str, str]]) -> None:
    assert found(kind, spec) == expected


@pytest.mark.parametrize(("kind", "spec"), GOOD)
def test_what_istio_accepts_is_accepted(kind: str, spec: str) -> None:
    obj = built(kind, spec)
    assert isinstance(obj, IstioObject)
    assert validate(obj) == ()


def test_all_problems_are_reported_at_once() -> None:
    spec = "{hosts: ['a b', c], http: [{timeout: 0s, route: [{destination: {host: '*'}}]}, {}]}"
    assert [code for code, _ in found("VirtualService", spec)] == [
        "DRG0301",
        "DRG0301",
        "DRG0303",
        "DRG0307",
        "DRG0402",
    ]


def test_names_and_labels_of_every_object() -> None:
    doc = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "A_b", "labels": {"-": "x", "a": "b/c"}}}
    paths = [problem.path for problem in validate(decode(doc))]
    assert paths == ["metadata.name", "metadata.labels[-]", "metadata.labels[a]"]


def test_warnings_do_not_forbid() -> None:
    (problem,) = validate(built("AuthorizationPolicy", "{action: AUDIT}"))
    assert problem.severity is Severity.WARNING
    assert problem.remedy


@pytest.mark.parametrize(
    ("written", "dry", "codes"), [("true", True, []), ("False", False, []), ("yes", None, ["DRG0411"])]
)
def test_the_annotation_of_a_dry_run(written: str, dry: bool | None, codes: list[str]) -> None:
    policy = built("AuthorizationPolicy", "{rules: [{}]}")
    noting = msgspec.structs.replace(
        policy, metadata=msgspec.structs.replace(policy.metadata, annotations={"istio.io/dry-run": written})
    )
    assert isinstance(noting, AuthorizationPolicy)
    assert noting.dry_run is dry
    assert [each.code for each in validate(noting)] == codes


def test_every_code_in_use_is_in_the_table() -> None:
    used = {code for _, _, expected in BAD for code, _ in expected}
    assert used <= set(CODES)
    # The table holds nothing that no rule reports (DRG0409 is one of `crds.consequences`, DRG0411 is about metadata,
    # DRG0413 about the mesh, DRG0414 about several objects).
    elsewhere = {"DRG0409", "DRG0411", "DRG0413", "DRG0414"}
    assert {code for code in CODES if code.startswith(("DRG03", "DRG04"))} - elsewhere <= used


@pytest.mark.parametrize(
    ("pattern", "accepted"),
    [
        ("a+b*?c{2,3}", True),
        ("[*+]++", False),
        ("a++", False),
        ("(?P<name>a)(?i:b)", True),
        ("(?<name>a)", True),
        ("(?P=name)", False),
        ("(?<!a)b", False),
        ("\\\\1", True),
        ("(a)\\1", False),
        ("\\p{Greek}+\\z", True),
        ("a\\Z", False),
        ("a{1001}", False),
        ("[[:alpha:]]+", True),
        ("(?x)a b", False),
        ("a" * 1025, False),
        ("*", False),
        ("a)", False),
    ],
)
def test_regular_expressions_are_those_of_re2(pattern: str, accepted: bool) -> None:
    assert (list(regex(pattern, "path")) == []) is accepted
