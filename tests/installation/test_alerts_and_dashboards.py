"""Alerts and dashboards are about metrics that a control plane and its proxies have, and their labels."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from documents import one, rendered
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from dragoman.admission.metrics import AdmissionMetrics
from tests.debug.running_plane import running_plane
from tests.support.revocations import revocations
from translators.metric_labels import HTTP_LABELS

OF_PROXIES = {
    "istio_requests": HTTP_LABELS,
    **dict.fromkeys(
        ("istio_request_bytes", "istio_response_bytes", "istio_request_duration_milliseconds"), HTTP_LABELS
    ),
    **dict.fromkeys(("istio_tcp_connections_opened", "istio_tcp_sent_bytes", "istio_tcp_received_bytes"), HTTP_LABELS),
}
"""What `tests/translators` sees of a real Envoy."""

ADDED = {"namespace", "pod", "le"}
"""Labels of scrapes and of histograms."""

_FUNCTIONS = {"sum", "min", "max", "count", "rate", "by", "or", "vector", "histogram_quantile"}


def metrics_of(expression: str) -> set[str]:
    """The names in PromQL that are neither labels nor functions, without the endings of counters and histograms."""
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|by \([^)]*\)", "", expression)
    return {re.sub("_(bucket|total)$", "", name) for name in re.findall(r"[a-z]\w+", bare)} - _FUNCTIONS


def labels_of(expression: str) -> set[str]:
    """The labels that PromQL selects or sums by."""
    selectors = "".join(re.findall(r"\{([^}]*)\}", expression))
    summed = ", ".join(re.findall(r"by \(([^)]*)\)", expression))
    return set(re.findall(r"(\w+)(?:=|!)", selectors)) | set(re.findall(r"\w+", summed))


async def of_control_plane(folder: Path) -> set[str]:
    registry = CollectorRegistry()
    AdmissionMetrics(registry)
    async with running_plane(folder) as running:
        running.plane.identities.revoke([revocations(running.plane.authority)])
        _, text, _ = await running.get("/metrics")
    return {family.name for family in (*text_string_to_metric_families(text), *registry.collect())}


def expressions(dashboard: dict[str, Any]) -> list[str]:
    of_panels = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    queries = [variable["definition"] for variable in dashboard["templating"]["list"] if "definition" in variable]
    return [*of_panels, *(re.sub(r"label_values\((.*), (\w+)\)", r"sum by (\2) (\1)", query) for query in queries)]


async def test_alerts_and_dashboards_are_about_metrics_that_there_are(tmp_path: Path) -> None:
    there = await of_control_plane(tmp_path)
    found = rendered("mesh", monitoring={"rules": {"enabled": True}, "dashboards": {"enabled": True}})
    rules = one(found, "PrometheusRule")["spec"]["groups"][0]["rules"]
    named = [re.findall(r"([a-z_]+)\{namespace=\"mesh\"", rule["expr"]) for rule in rules]
    assert all(len(names) == 1 for names in named)
    assert {re.sub("_(bucket|total)$", "", name) for (name,) in named} <= there

    shown = json.loads(one(found, "ConfigMap", "istiod-dashboard-control-plane")["data"]["control-plane.json"])
    assert len(expressions(shown)) > 30
    for expression in expressions(shown):
        assert metrics_of(expression) <= there, expression
        assert metrics_of(expression), expression


def test_the_dashboard_of_the_mesh_is_about_what_proxies_count() -> None:
    config_map = one(
        rendered("mesh", monitoring={"dashboards": {"enabled": True}}), "ConfigMap", "istiod-dashboard-mesh"
    )
    assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"
    for expression in expressions(json.loads(config_map["data"]["mesh.json"])):
        (metric,) = metrics_of(expression)
        assert labels_of(expression) <= {*OF_PROXIES[metric], *ADDED}, expression


@pytest.mark.parametrize("name", ["control-plane", "mesh"])
def test_panels_of_a_dashboard_stand_beside_each_other(name: str) -> None:
    config_map = one(
        rendered("mesh", monitoring={"dashboards": {"enabled": True}}), "ConfigMap", f"istiod-dashboard-{name}"
    )
    panels = json.loads(config_map["data"][f"{name}.json"])["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_what_is_read_out_of_an_expression() -> None:
    expression = (
        'sum by (le, pod) (rate(a_seconds_bucket{namespace="$namespace",x!~"5.."}[$__rate_interval])) / b_total'
    )
    assert metrics_of(expression) == {"a_seconds", "b"}
    assert labels_of(expression) == {"le", "pod", "namespace", "x"}
