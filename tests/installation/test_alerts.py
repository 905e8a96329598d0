"""Alerts are about metrics that a control plane has, of its own namespace."""

from __future__ import annotations

import re
from pathlib import Path

from documents import one, rendered
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from dragoman.admission.metrics import AdmissionMetrics
from tests.debug.running_plane import running_plane


async def test_alerts_are_about_metrics_that_there_are(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    AdmissionMetrics(registry)
    async with running_plane(tmp_path) as running:
        _, text, _ = await running.get("/metrics")
    there = {family.name for family in (*text_string_to_metric_families(text), *registry.collect())}
    document = one(rendered("mesh", monitoring={"rules": {"enabled": True}}), "PrometheusRule")
    rules = document["spec"]["groups"][0]["rules"]
    named = [re.findall(r"([a-z_]+)\{namespace=\"mesh\"", rule["expr"]) for rule in rules]
    assert all(len(names) == 1 for names in named)
    assert {re.sub("_(bucket|total)$", "", name) for (name,) in named} <= there
