"""Metrics are what is so at the scrape, under the names that Istio's dashboards ask for."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ca.authority import new_root
from dragoman.debug.loop_lag import LoopLag
from tests.debug.debug_proxy import proxy_at
from tests.debug.running_plane import CLUSTER_OF_WEB, WEB, RunningPlane, running_plane
from tests.support.revocations import revocations
from tests.support.until import until

Sample = tuple[str, tuple[tuple[str, str], ...]]


async def scrape(running: RunningPlane) -> dict[Sample, float]:
    _, text, _ = await running.get("/metrics")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_the_mesh_is_counted_at_the_scrape(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as running:
        before = await scrape(running)
        (tmp_path / "more.yaml").write_text(
            "apiVersion: v1\nkind: Service\nmetadata: {name: b, namespace: shop}\n"
            "spec: {clusterIP: 10.96.0.2, ports: [{port: 1}]}\n"
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec: {hots: []}\n"
        )

        async def followed() -> bool:
            return (await scrape(running))["pilot_services", ()] == 2

        await until(followed)
        after = await scrape(running)
    assert before["pilot_services", ()] == before["pilot_virt_services", ()] == after["pilot_virt_services", ()] == 1
    assert before["dragoman_objects", (("kind", "Pod"),)] == 2
    assert before["dragoman_problems", (("severity", "error"),)] == 0
    assert after["dragoman_problems", (("severity", "error"),)] >= 1


async def test_streams_are_counted(tmp_path: Path) -> None:
    cds, eds = (("type", "cds"),), (("type", "eds"),)
    async with running_plane(tmp_path) as running:
        before = await scrape(running)
        async with proxy_at(running.xds_port, WEB):
            await until(running.all_in_sync)
            during = await scrape(running)
            (status,) = await running.ask("/debug/syncz")

        async def nobody() -> bool:
            found = await scrape(running)
            return not any(found[f"dragoman_{what}", ()] for what in ("streams", "views", "identities"))

        await until(nobody)
        after = await scrape(running)
    assert before["pilot_xds_pushes", cds] == before["dragoman_streams", ()] == 0
    sent = {name: type_["sent"] for name, type_ in status["types"].items()}
    assert (during["pilot_xds_pushes", cds], during["pilot_xds_pushes", eds]) == (sent["cds"], sent["eds"])
    assert sent["eds"] == 1
    assert during["pilot_xds", (("version", "envoy 0.0.0"),)] == during["dragoman_streams", ()] == 1
    assert during["dragoman_views", ()] == 2
    assert during["dragoman_identities", ()] == 1
    assert during["dragoman_streams_behind", cds] == 0
    assert during["dragoman_engine_nodes", ()] > 10
    assert during["pilot_proxy_convergence_time_count", ()] == sum(sent.values())
    assert during["pilot_xds_push_time_count", cds] == sent["cds"]
    assert after["pilot_xds_pushes", cds] == sent["cds"]
    assert after["dragoman_views", ()] == after["dragoman_identities", ()] == 0


async def test_rejections_are_counted(tmp_path: Path) -> None:
    async with (
        running_plane(tmp_path) as running,
        proxy_at(running.xds_port, WEB, rejects={CLUSTER_OF_WEB: "no"}),
    ):
        found = await scrape(running)
    assert found["pilot_total_xds_rejects", (("type", "cds"),)] == 1
    assert found["pilot_total_xds_rejects", (("type", "lds"),)] == 0
    assert found["dragoman_resources_held_back", ()] >= 1


async def test_the_authoritys_end_is_foreseen(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as running:
        found = await scrape(running)
        ends = running.plane.authority.not_after
    assert found["citadel_server_root_cert_expiry_timestamp", ()] == pytest.approx(ends.timestamp())
    left = timedelta(seconds=found["citadel_server_root_cert_expiry_seconds", ()])
    assert ends - datetime.now(UTC) == pytest.approx(left, abs=timedelta(seconds=10))


async def test_the_end_of_revocation_lists_is_foreseen(tmp_path: Path) -> None:
    gauge = ("dragoman_ca_crl_expiry_seconds", ())
    async with running_plane(tmp_path) as running:
        assert gauge not in await scrape(running)
        running.plane.identities.revoke([revocations(new_root("former", now=datetime.now(UTC)), hours=1)])
        assert gauge not in await scrape(running), "nobody signs with it"
        for hours in (2, 5):
            running.plane.identities.revoke([revocations(running.plane.authority, hours=hours)])
            assert (await scrape(running))[gauge] == pytest.approx(hours * 3600, abs=60)


async def test_the_loops_delay_is_seen_and_forgotten_once_told() -> None:
    lag = LoopLag(every_seconds=0.01)
    lag.start()
    await asyncio.sleep(0)
    time.sleep(0.1)  # noqa: ASYNC251 - this is the delay
    await asyncio.sleep(0.02)
    assert lag.take_worst() > 0.05
    assert lag.take_worst() < 0.05
    await lag.stop()
