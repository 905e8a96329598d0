"""The page about objects, with a proxy that takes and one that rejects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from debug_proxy import proxy_at
from running_plane import CART, CLUSTER_OF_WEB, WEB, RunningPlane, running_plane, until

RULE = "/debug/statusz?kind=DestinationRule&namespace=shop&name=web"


async def programmed(running: RunningPlane, page: str = RULE) -> dict[str, Any]:
    (entry,) = await running.ask(page)
    return next(condition for condition in entry["conditions"] if condition["type"] == "Programmed")


async def test_objects_with_their_conditions(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as running:
        entries = await running.ask("/debug/statusz")
        assert [(entry["kind"], entry["name"]) for entry in entries] == [
            ("DestinationRule", "web"),
            ("VirtualService", "web"),
        ]
        assert entries[0]["at"].startswith(f"{tmp_path}/mesh.yaml:")
        assert entries[0]["digest"] != entries[1]["digest"]
        assert await running.ask("/debug/statusz?kind=VirtualService") == entries[1:]
        assert await running.ask("/debug/statusz?namespace=elsewhere") == []
        assert (await programmed(running))["reason"] == "NotUsed"
        async with proxy_at(running.xds_port, WEB), proxy_at(running.xds_port, CART):
            await until(running.all_in_sync)
            found = await programmed(running)
            assert (found["status"], found["reason"]) == ("True", "Programmed")
            assert found["message"].startswith("2/2 proxies have accepted it")


async def test_a_rejected_and_a_broken_object(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as running, proxy_at(running.xds_port, WEB) as proxy:
        await until(running.all_in_sync)
        proxy.refuse(CLUSTER_OF_WEB, "not today")
        file = tmp_path / "mesh.yaml"
        text = file.read_text()
        file.write_text(text.replace("connectTimeout: 3s", "connectTimeout: 4s"))

        async def rejected() -> bool:
            found = await programmed(running)
            return bool(found["reason"] == "Rejected")

        await until(rejected)
        found = await programmed(running)
        assert found["message"].startswith(f"cds {CLUSTER_OF_WEB!r} rejected: ")
        assert found["message"].endswith(": not today; 0/1 proxies have accepted it")
        routes = await programmed(running, "/debug/statusz?kind=VirtualService")
        assert routes["status"] == "True"

        (tmp_path / "broken.yaml").write_text(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: bad, namespace: shop}\n"
            "spec: {hosts: [web], htp: []}\n"
        )
        page = "/debug/statusz?kind=VirtualService&namespace=shop&name=bad"

        async def known() -> bool:
            return bool(await running.ask(page))

        await until(known)
        (entry,) = await running.ask(page)
        accepted = entry["conditions"][0]
        assert (accepted["type"], accepted["status"]) == ("Accepted", "False")
        assert "DRG0101 spec.htp" in accepted["message"]
        assert entry["problems"][0]["code"] == "DRG0101"
