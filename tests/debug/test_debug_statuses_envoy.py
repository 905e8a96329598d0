"""A real Envoy: what is said to be programmed it has, and what it rejects is said in its words."""

from __future__ import annotations

import json
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from crds.decode import decode
from crds.digest import digest_of
from crds.meta import IstioObject
from dragoman.sidecar import EnvoyProcess
from dragoman.sources.yaml_documents import parse, split
from tests.debug.plane_with_envoy import PlaneWithEnvoy, plane_with_envoy
from tests.debug.running_plane import RunningPlane
from tests.debug.test_debug_envoy import MESH
from tests.support.until import until

pytestmark = pytest.mark.envoy

ADDRESS = "127.10.14.3"
ENDPOINTS = f"""
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-a, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{name: http, port: 8080}}]
endpoints: [{{addresses: [{ADDRESS}], targetRef: {{kind: Pod, name: web-1, namespace: shop}}}}]
"""


def rule(extra: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: web, namespace: shop}}
spec: {{host: web, {extra}}}
"""


def routes(extra: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web, namespace: shop}}
spec: {{hosts: [web], http: [{extra}]}}
"""


def meshed(folder: Path) -> AbstractAsyncContextManager[PlaneWithEnvoy]:
    return plane_with_envoy(folder, MESH.replace("127.10.14.2", ADDRESS) + ENDPOINTS, ADDRESS)


async def write(running: RunningPlane, text: str) -> None:
    """Apply an object and wait until it is said to be programmed in this version, or to be rejected."""
    (text_of,) = split(text.encode())
    obj: Any = decode(parse(text_of))
    assert isinstance(obj, IstioObject)
    (running.folder / f"z-{obj.kind}.yaml").write_text(text)

    async def told() -> bool:
        entry = await status(running, obj.kind)
        found = programmed(entry)
        return entry.get("digest") == digest_of(obj) and (
            found["status"] == "True" or found["reason"] in ("Rejected", "Failed")
        )

    await until(told)


async def status(running: RunningPlane, kind: str) -> dict[str, Any]:
    entries = await running.ask(f"/debug/statusz?kind={kind}&namespace=shop&name=web")
    return dict(entries[0]) if entries else {"conditions": [{"type": "Programmed", "status": "", "reason": ""}]}


def programmed(entry: dict[str, Any]) -> dict[str, Any]:
    return next(found for found in entry["conditions"] if found["type"] == "Programmed")


async def has(envoy: EnvoyProcess, words: str) -> bool:
    return words in json.dumps(await envoy.admin.config_dump(), sort_keys=True)


async def test_what_is_programmed_envoy_has_and_what_it_rejects_is_said(tmp_path: Path) -> None:
    async with meshed(tmp_path) as (running, envoy, _):
        assert programmed(await status(running, "VirtualService"))["message"].startswith("1/1 proxies")
        mesh = running.folder / "mesh.yaml"
        mesh.write_text(
            "---".join(part for part in mesh.read_text().split("---") if "kind: VirtualService" not in part)
        )
        for seconds in range(11, 17):
            await write(running, routes(f"{{timeout: {seconds}s, route: [{{destination: {{host: web}}}}]}}"))
            assert await has(envoy, f'"timeout": "{seconds}s"')

        subsets = "subsets: [{name: v%d, labels: {app: web}}]"
        for number in range(1, 4):
            await write(running, rule(subsets.replace("%d", str(number))))
            name = f"outbound|8080|v{number}|web.shop.svc.cluster.local"
            assert await has(envoy, f'"name": "{name}"')
            assert await has(envoy, f'"cluster_name": "{name}"'), "and its endpoints"
            await write(running, routes(f"{{route: [{{destination: {{host: web, subset: v{number}}}}}]}}"))
            assert await has(envoy, f'"cluster": "{name}"')

        bad = "trafficPolicy: {tls: {mode: SIMPLE, caCertificates: /etc/no-such-file.pem}}"
        await write(running, rule(bad + ", " + subsets.replace("%d", "3")))
        found = programmed(await status(running, "DestinationRule"))
        assert found["reason"] == "Rejected"
        assert "/etc/no-such-file.pem" in found["message"]
        assert found["message"].endswith("0/1 proxies have accepted it")
        await write(running, rule(subsets.replace("%d", "3")))
        assert programmed(await status(running, "DestinationRule"))["status"] == "True"
