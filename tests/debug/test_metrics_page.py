"""The documentation's list of Istio's metrics is true: those that it says are there are, the others are not."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from dragoman.admission.metrics import AdmissionMetrics
from dragoman.operator.ca_bundles import PatchMetrics
from tests.debug.running_plane import running_plane
from tests.debug.test_debug_metrics import scrape
from tests.support.until import until

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
NAME = re.compile(r"`([a-z][a-z0-9_]*)`")


async def test_the_page_is_true(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    AdmissionMetrics(registry)
    PatchMetrics(registry)
    async with running_plane(tmp_path) as running:
        _, text, _ = await running.get("/metrics")
    there = {family.name for family in text_string_to_metric_families(text)}
    there |= {family.name for family in registry.collect()}
    page = PAGE.read_text()
    start, middle = page.index("## Istio's names"), page.index("Beside them")
    listed = {name.removesuffix("_total") for name in NAME.findall(page[start:middle])}
    assert len(listed) > 35
    assert listed <= there
    absent = [row.split("|")[1] for row in page[page.index("| Istio's |") :].splitlines()[2:] if row.startswith("|")]
    assert not {name for row in absent for name in NAME.findall(row)} & there


async def test_changes_are_counted_by_kind_and_by_what_they_cause(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as running:
        before = await scrape(running)
        (tmp_path / "mesh.yaml").write_text((tmp_path / "mesh.yaml").read_text().replace("timeout: 5s", "timeout: 6s"))

        async def followed() -> bool:
            found = await scrape(running)
            event = "pilot_k8s_cfg_events", (("event", "update"), ("type", "VirtualService"))
            return event in found and found["pilot_push_triggers", (("type", "config"),)] > 1

        await until(followed)
        after = await scrape(running)
    assert before["pilot_k8s_cfg_events", (("event", "add"), ("type", "VirtualService"))] == 1
    assert before["pilot_k8s_reg_events", (("event", "add"), ("type", "Pods"))] == 2
    assert before["pilot_inbound_updates", (("type", "svc"),)] == 1
    assert before["pilot_push_triggers", (("type", "config"),)] == 1
    assert after["pilot_push_triggers", (("type", "config"),)] == 2
    assert after["pilot_push_triggers", (("type", "service"),)] == 1
