"""Our rendering of the charts is Helm's own, object for object and text for text."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from value_sets import CHARTS, VALUE_SETS

from dragoman.charts import Chart, ChartError, Release
from dragoman.charts.functions import FUNCTIONS
from e2e.helm.program import HELM
from tests.support.required_program import required


@pytest.fixture(scope="module")
def helm() -> Path:
    """The program."""
    return required(HELM)


def by_helm(helm: Path, chart: str, values: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """What `helm template` prints."""
    given = folder / "values.yaml"
    given.write_text(yaml.safe_dump(values))
    command = (helm, "template", "rel", CHARTS / chart, "--namespace", "mesh", "--values", given)
    done = subprocess.run((*command, "--kube-version", "1.36.0"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if document]


def keyed(documents: list[dict[str, Any]]) -> dict[tuple[str, str, str], dict[str, Any]]:
    keys = [(each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]) for each in documents]
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, documents, strict=True))


@pytest.mark.parametrize("name", VALUE_SETS)
def test_renders_what_helm_renders(name: str, helm: Path, tmp_path: Path) -> None:
    chart, values = VALUE_SETS[name]
    ours = [each.document for each in Chart(CHARTS / chart).render(values, Release("rel", "mesh"))]
    assert keyed(ours) == keyed(by_helm(helm, chart, values, tmp_path))


def test_helm_lints_the_charts(helm: Path) -> None:
    charts = sorted(path.parent for path in CHARTS.glob("*/Chart.yaml"))
    command = (helm, "lint", "--strict", *charts, "--kube-version", "1.36.0")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("chart", "values", "said"),
    [
        ("control-plane", {"pilot": {"replicas": 3}}, "'replicas' was unexpected"),
        ("control-plane", {"pilot": {"replicaCount": "3"}}, "pilot.replicaCount"),
        ("control-plane", {"revision": "Canary"}, "revision"),
        ("gateway", {"service": {"ports": []}}, "service.ports"),
        ("gateway", {"kind": "StatefulSet"}, "kind"),
    ],
)
def test_values_out_of_the_schema_are_refused_by_both(
    chart: str, values: dict[str, Any], said: str, helm: Path, tmp_path: Path
) -> None:
    with pytest.raises(ChartError, match=re.escape(said)):
        Chart(CHARTS / chart).render(values, Release("rel", "mesh"))
    with pytest.raises(AssertionError, match="values don't meet the specifications of the schema"):
        by_helm(helm, chart, values, tmp_path)


def test_every_default_value_is_in_the_schema_and_every_function_in_a_template() -> None:
    source = "".join(path.read_text() for path in CHARTS.rglob("templates/*"))
    used = set(re.findall(r"[A-Za-z]\w*", " ".join(re.findall(r"\{\{.*?\}\}", source, re.DOTALL))))
    assert set(FUNCTIONS) - used == set()
