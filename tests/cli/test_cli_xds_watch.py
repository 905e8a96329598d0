"""`dragoman xds watch` against `dragoman serve`: what it prints, when it ends, and with what."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from tests.cli.cli_runs import Serving, run, serving
from tests.debug.running_plane import CLUSTER_OF_WEB, MESH
from tests.support.free_ports import own_loopback


@asynccontextmanager
async def watching(*arguments: str | Path) -> AsyncIterator[Serving]:
    """The command as a process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from dragoman.cli.main import main; main()", "xds", "watch"),
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "COLUMNS": "200"},
        limit=1 << 22,
    )
    running = Serving(process)
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
            await running.ended()


class ControlPlane(NamedTuple):
    folder: Path
    address: str
    secure: str
    state: Path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def control_plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    """One for all: who changes its folder puts back what was there."""
    place = tmp_path_factory.mktemp("served")
    folder = place / "mesh"
    folder.mkdir()
    (folder / "mesh.yaml").write_text(MESH)
    async with serving("--config", folder, state=place) as running:
        secure = f"127.0.0.1:{await running.secure_port()}"
        yield ControlPlane(folder, f"127.0.0.1:{await running.xds_port()}", secure, place / "dragoman")


def responses(lines: Iterable[str]) -> list[dict[str, Any]]:
    return [event for line in lines if (event := json.loads(line))["event"] == "response"]


@pytest.mark.parametrize("variant", [(), ("--sotw",)], ids=["delta", "sotw"])
def test_once_ends_in_sync_with_all_that_a_proxy_gets(control_plane: ControlPlane, variant: tuple[str, ...]) -> None:
    where = ("--node", "web-1.shop", "--server", control_plane.address)
    watch = run("xds", "watch", *where, "--once", "-o", "json", *variant)
    assert watch.exit_code == 0, watch.stderr
    lines = watch.stdout.splitlines()
    assert {event["type"] for event in responses(lines)} == {"cds", "eds", "lds", "rds", "sds"}
    clusters = {each["name"] for event in responses(lines) if event["type"] == "cds" for each in event["added"]}
    assert CLUSTER_OF_WEB in clusters
    secrets = [each["resource"] for event in responses(lines) if event["type"] == "sds" for each in event["added"]]
    assert {secret["name"] for secret in secrets} == {"default", "ROOTCA"}
    assert "PRIVATE" not in watch.stdout
    assert {value for secret in secrets for key, value in secret.items() if key != "name"} == {"[redacted]"}
    assert json.loads(lines[-1])["event"] == "in-sync"


@pytest.mark.asyncio(loop_scope="module")
async def test_follows_changes_with_their_difference_until_a_signal(control_plane: ControlPlane) -> None:
    folder, address = control_plane.folder, control_plane.address
    options = ("--type", "cds", "--name", "outbound*web*", "--diff")
    async with watching("--node", "web-1.shop", "--server", address, *options) as watch:
        await watch.hear("in sync")
        (folder / "mesh.yaml").write_text(MESH.replace("connectTimeout: 3s", "connectTimeout: 7s"))
        async with asyncio.timeout(60), watch._news:
            await watch._news.wait_for(lambda: any("+connectTimeout: 7s" in line for line in watch.logged))
        (folder / "mesh.yaml").write_text(MESH)
        async with asyncio.timeout(60), watch._news:
            await watch._news.wait_for(lambda: any("-connectTimeout: 7s" in line for line in watch.logged))
        assert await watch.end(signal.SIGINT) == 0
    assert [line.split()[:2] for line in watch.logged if line[:3] in ("  +", "  ~")] == [
        ["+", CLUSTER_OF_WEB],
        ["~", CLUSTER_OF_WEB],
        ["~", CLUSTER_OF_WEB],
    ]
    assert any("-connectTimeout: 3s" in line for line in watch.logged)


async def test_connects_anew_and_says_what_it_holds(tmp_path: Path) -> None:
    folder = tmp_path / "mesh"
    folder.mkdir()
    (folder / "mesh.yaml").write_text(MESH)
    address = f"{own_loopback()}:15010"
    async with serving("--config", folder, "--xds-address", address, state=tmp_path) as first:
        await first.hear("serving proxies at")
        watch_options = ("--node", "web-1.shop", "--server", address, "--type", "cds,eds")
        async with watching(*watch_options) as watch:
            await watch.hear("in sync")
            held = len(watch.logged)
            await first.end()
            await watch.hear(r"disconnected from .*; again in \d")
            async with serving("--config", folder, "--xds-address", address, state=tmp_path) as second:
                await second.hear("serving proxies at")
                async with asyncio.timeout(60), watch._news:
                    await watch._news.wait_for(lambda: watch.told.count("in sync") == 2)
            assert [line for line in watch.logged[held:] if line[:3] in ("  +", "  ~", "  -")] == []


@pytest.mark.asyncio(loop_scope="module")
async def test_rejects_on_purpose(control_plane: ControlPlane) -> None:
    address = control_plane.address
    options = ("--type", "cds", "--nack", "outbound*web*", "--nack-message", "I will not", "-o", "json")
    async with (
        watching("--node", "web-1.shop", "--server", address, *options) as watch,
        asyncio.timeout(60),
        watch._news,
    ):
        await watch._news.wait_for(lambda: any(event["rejected"] for event in responses(watch.logged)))
    (event,) = (event for event in responses(watch.logged) if event["rejected"])
    assert [each["name"] for each in event["rejected"]] == [CLUSTER_OF_WEB]
    assert "I will not" in event["error"]


def test_refusal_ends_it_with_1(control_plane: ControlPlane) -> None:
    watch = run("xds", "watch", "--node", "ghost.shop", "--server", control_plane.address)
    assert watch.exit_code == 1
    assert "refused: NOT_FOUND: no pod shop/ghost" in watch.stderr


def test_not_in_sync_in_time_ends_with_1(tmp_path: Path) -> None:
    nowhere = f"unix://{tmp_path}/nobody"
    for seconds in ("0.5", "5", "50"):
        result = run("xds", "watch", "--node", "a.b", "--server", nowhere, "--once", "--timeout", seconds)
        assert result.exit_code == 1
        assert f"not in sync within {seconds} s" in result.stderr
        if "UNAVAILABLE" in result.stderr:  # a busy machine may not get to it in so short a time
            break
    assert "UNAVAILABLE" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--node", "web"), "POD.NAMESPACE"),
        (("--node", "sidecar~nowhere~a.b~c"), "no IP address"),
        (("--node", "a.b", "--type", "xds"), "cds"),
        (("--node", "a.b", "--name", "~("), "regular expression"),
        (("--node", "a.b", "--server", "unix:there"), "absolute"),
        (("--node", "a.b", "--server", "192.0.2.1:1", "--token-file", __file__), "plaintext"),
        (("--node", "a.b", "--cert", __file__), "--key"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], complaint: str) -> None:
    result = run("xds", "watch", *arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr


def test_the_state_of_a_control_plane_on_this_machine_is_all_that_tls_needs(control_plane: ControlPlane) -> None:
    where = ("--node", "web-1.shop", "--server", control_plane.secure, "--state-dir", control_plane.state)
    watch = run("xds", "watch", *where, "--service-account", "web", "--once", "-o", "json")
    assert watch.exit_code == 0, watch.stderr
    told = {event["type"] for event in responses(watch.stdout.splitlines())}
    assert "sds" in told, "who proves its identity gets its certificate"
    nobody = run("xds", "watch", *where, "--once", "--timeout", "20")
    assert nobody.exit_code == 1
    assert "service account 'web'" in nobody.stderr


def test_without_a_state_the_remedy_is_named(tmp_path: Path) -> None:
    ended = run("xds", "watch", "--node", "web-1.shop", "--state-dir", tmp_path / "none")
    assert ended.exit_code == 1
    assert "--server" in ended.stderr
