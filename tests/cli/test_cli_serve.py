"""`dragoman serve` as a process: ports, signals, reports, logs."""

import asyncio
import json
import signal
import stat
from pathlib import Path

import aiohttp
import pytest

from tests.cli.cli_runs import run, serving
from tests.debug.debug_proxy import proxy_at
from tests.debug.running_plane import CLUSTER_OF_WEB, MESH, WEB
from tests.debug.test_debug_secrecy import GATEWAY, secrets
from tests.support.free_ports import own_loopback
from tests.translators.gateway_certificates import Authority


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "mesh"
    folder.mkdir()
    (folder / "mesh.yaml").write_text(MESH)
    return folder


async def status_of(port: int, path: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as response:
        return response.status


async def test_it_serves_until_a_signal_and_ends_with_0_and_the_root_outlives_it(tmp_path: Path, folder: Path) -> None:
    roots = []
    for number in (signal.SIGTERM, signal.SIGINT):
        async with serving("--config", folder, state=tmp_path) as running:
            port = await running.xds_port()
            assert await status_of(await running.http_port(), "/ready") == 200
            async with proxy_at(port, WEB) as proxy:
                assert any(CLUSTER_OF_WEB in names for names in proxy.held.values())
                assert await running.end(number) == 0
        assert any(line.startswith("loaded 7 objects from") and "0 errors, 0 warnings" in line for line in running.told)
        events = [json.loads(line) for line in running.logged]
        connected = next(event for event in events if event["event"] == "connected")
        assert connected["proxy"] == "web-1.shop"
        assert {"timestamp", "level"} <= connected.keys()
        assert not any(event["level"] == "debug" for event in events)
        key = tmp_path / "dragoman" / "ca" / "authority.json"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        shown = await asyncio.to_thread(run, "ca", "root", "--state-dir", tmp_path / "dragoman")
        roots.append(shown.stdout)
    assert "BEGIN CERTIFICATE" in roots[0]
    assert roots[0] == roots[1]


async def test_a_response_is_logged_and_a_rejection_is_told_with_envoys_words(tmp_path: Path, folder: Path) -> None:
    async with serving("--config", folder, "--log-level", "debug", state=tmp_path) as running:
        async with proxy_at(await running.xds_port(), WEB, rejects={CLUSTER_OF_WEB: "bad cluster"}):
            line = await running.hear(r"^error: web-1\.shop rejected .*")
        await running.end()
    assert CLUSTER_OF_WEB in line[0]
    assert "of CDS" in line[0]
    assert "bad cluster" in line[0]
    assert "DestinationRule shop/web" in line[0]
    events = [json.loads(line) for line in running.logged]
    pushed = next(event for event in events if event["event"] == "pushed")
    assert pushed["proxy"] == "web-1.shop"
    assert pushed["type"] == "Cluster"
    assert pushed["nonce"]
    assert all(len(version) == 16 for version in pushed["version"])
    assert pushed["version"]
    assert not any("PRIVATE KEY" in line for line in running.logged)


async def test_problems_are_told_with_file_line_and_remedy_and_the_rest_goes_on(tmp_path: Path, folder: Path) -> None:
    async with serving("--config", folder, state=tmp_path) as running:
        await running.xds_port()
        (folder / "broken.yaml").write_text(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: b}\nspec:\n  hots: a\n"
            "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n"
        )
        await running.hear(r"^error: .*broken\.yaml:5: DRG0101 DestinationRule default/b: spec\.hots: .*\(.*host.*\)")
        await running.hear(r"^info: .*broken\.yaml:7: DRG0003 .*Deployment")
        (folder / "mesh.yaml").write_text(MESH.replace("[web]", "web"))
        await running.hear(r"^error: .*VirtualService shop/web: spec\.hosts: .*last good version stays in force")
        (folder / "istio.yaml").write_text(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"
            "data:\n  mesh: |\n    enableAutoMtls: perhaps\n"
        )
        await running.hear(r"^error: .*istio\.yaml:6: DRG0102 .*data\.mesh\.enableAutoMtls")
        assert await status_of(await running.http_port(), "/ready") == 200
        assert await running.end() == 0


async def test_a_broken_credential_is_told_at_its_secret_with_the_gateway_that_names_it(
    tmp_path: Path, folder: Path
) -> None:
    certificate = Authority().issue("site.example").certificate.decode()
    (folder / "edge.yaml").write_text(secrets("no key", certificate))
    async with serving("--config", folder, state=tmp_path) as running:
        async with proxy_at(await running.xds_port(), GATEWAY):
            broken = await running.hear(r"^error: \S*edge\.yaml:(\d+): DRG0502 Secret shop/site: data\[tls\.key\]: .*")
            (folder / "edge.yaml").write_text(
                secrets("no key", certificate).replace("{name: site,", "{name: other,", 1)
            )
            missing = await running.hear(
                r"^error: \S*edge\.yaml:(\d+): DRG0501 Gateway shop/site: spec\.servers\[0\].*"
            )
        await running.end()
    assert "; named by Gateway shop/site (" in broken[0]
    assert f"edge.yaml:{missing[1]})" in broken[0]
    assert broken[1] != missing[1]
    assert "no Secret shop/site" in missing[0]
    (logged,) = [event for event in map(json.loads, running.logged) if event.get("code") == "DRG0502"]
    assert (logged["event"], logged["level"]) == ("credential unusable", "error")


async def test_the_xds_port_opens_after_the_load(tmp_path: Path, folder: Path) -> None:
    """A folder that takes long to load: until it is, /ready is 503 and nobody is let in."""
    host, port = own_loopback(), 15010

    async def nobody_is_let_in() -> bool:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except ConnectionRefusedError:
            return True
        writer.close()
        await writer.wait_closed()
        return False

    for count in (3_000, 15_000, 75_000):  # a busy machine may look only when fewer are loaded already
        documents = "---\n".join(
            f"apiVersion: v1\nkind: Service\nmetadata: {{name: s{n}, namespace: many}}\n"
            "spec: {ports: [{port: 80}]}\n"
            for n in range(count)
        )
        (folder / "many.yaml").write_text(documents)
        async with serving("--config", folder, "--xds-address", f"{host}:{port}", state=tmp_path) as running:
            http = await running.http_port()
            seen = await nobody_is_let_in(), await status_of(http, "/ready")
            await running.hear("serving proxies at")
            assert not await nobody_is_let_in()
            assert await status_of(http, "/ready") == 200
            await running.end()
        if seen == (True, 503):
            break
    assert seen == (True, 503)
