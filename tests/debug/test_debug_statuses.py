"""The page about objects, with a proxy that takes and one that rejects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crds.meta import ObjectKey
from dragoman.codec import SECRET
from tests.debug.debug_proxy import proxy_at
from tests.debug.running_plane import CART, CLUSTER_OF_WEB, MESH, WEB, RunningPlane, running_plane
from tests.debug.test_debug_secrecy import GATEWAY, secrets
from tests.support.until import until

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


async def test_a_gateway_whose_credential_does_not_work(tmp_path: Path, key_and_certificate: tuple[str, str]) -> None:
    key, certificate = key_and_certificate
    file = tmp_path / "mesh.yaml"
    page = "/debug/statusz?kind=Gateway&namespace=shop&name=site"

    async def resolved(running: RunningPlane) -> dict[str, Any] | None:
        (entry,) = await running.ask(page)
        return next((found for found in entry["conditions"] if found["type"] == "ResolvedRefs"), None)

    async with running_plane(tmp_path, MESH + secrets(key, certificate)) as running:
        told: list[frozenset[ObjectKey]] = []
        running.plane.statuses.subscribe(told.append)
        async with proxy_at(running.xds_port, GATEWAY) as proxy:
            await proxy.ask(SECRET, ["kubernetes://site"])
            assert await resolved(running) is None
            file.write_text(MESH + secrets("no key", certificate))

            async def broken() -> bool:
                return await resolved(running) is not None

            await until(broken)
            await until(lambda: bool(told))
            found = await resolved(running)
            assert found is not None
            assert (found["status"], found["reason"]) == ("False", "InvalidCredential")
            assert found["message"].startswith("DRG0502 Secret shop/site data[tls.key]: ")
            assert told[-1] == {ObjectKey("Gateway", "shop", "site")}
            told.clear()
            file.write_text(MESH + secrets(key, certificate))

            async def well() -> bool:
                return await resolved(running) is None

            await until(well)
            await until(lambda: bool(told))
            assert told == [{ObjectKey("Gateway", "shop", "site")}]


ASKING = """
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask, namespace: shop}
spec: {action: CUSTOM, selector: {matchLabels: {app: web}}, provider: {name: guard}, rules: [{}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: other, namespace: shop}
spec: {action: CUSTOM, selector: {matchLabels: {app: other}}, provider: {name: other}, rules: [{}]}
"""
PROVIDER = """
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    extensionProviders: [{name: guard, envoyExtAuthzHttp: {service: web.shop.svc.cluster.local, port: 8080}}]
"""


async def test_a_policy_whose_authorizer_is_unknown(tmp_path: Path) -> None:
    file = tmp_path / "mesh.yaml"

    async with running_plane(tmp_path, MESH + ASKING) as running:
        told: list[frozenset[ObjectKey]] = []
        running.plane.statuses.subscribe(told.append)

        async def resolved() -> dict[str, Any] | None:
            (entry,) = await running.ask("/debug/statusz?kind=AuthorizationPolicy&namespace=shop&name=ask")
            return next((found for found in entry["conditions"] if found["type"] == "ResolvedRefs"), None)

        found = await resolved()
        assert found is not None
        assert (found["status"], found["reason"]) == ("False", "AuthorizerNotFound")

        async def well() -> bool:
            return await resolved() is None

        async def unwell() -> bool:
            return await resolved() is not None

        for text, follows in ((ASKING + PROVIDER, well), (ASKING, unwell), (ASKING + PROVIDER, well)):
            file.write_text(MESH + text)
            await until(follows)
            await until(lambda: bool(told))  # which is done after it holds
            assert told == [{ObjectKey("AuthorizationPolicy", "shop", "ask")}]
            told.clear()
        # Another policy begins to ask somebody else for the same workloads: neither is asked for.
        file.write_text(MESH + ASKING.replace("{app: other}", "{app: web}") + PROVIDER)

        async def several() -> bool:
            found = await resolved()
            return found is not None and found["reason"] == "SeveralAuthorizers"

        await until(several)
        await until(lambda: {ObjectKey("AuthorizationPolicy", "shop", "ask")} <= set().union(*told))
