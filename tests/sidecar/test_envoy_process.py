import asyncio
import json
import os
import signal
import stat
import sys

import pytest

from dragoman.sidecar import AdminError, ControlPlane, EnvoyProcess, EnvoyProcessError, argv, find_envoy, render

pytestmark = pytest.mark.envoy


def process(chosen, directory, config=None, binary=None) -> EnvoyProcess:
    return EnvoyProcess(
        lambda path: argv(binary or find_envoy(), path, concurrency=1),
        config or render(chosen),
        directory,
        chosen.addresses.admin,
    )


async def test_a_life(parameters, serve_ads, tmp_path):
    _, address = await serve_ads()
    chosen = parameters(control_plane=ControlPlane(address))
    envoy = process(chosen, tmp_path / "new" / "directory")
    assert (envoy.pid, envoy.exit_code) == (None, None)
    async with envoy:
        await envoy.wait_live()
        assert envoy.exit_code is None
        os.kill(envoy.pid, 0)
        assert (await envoy.admin.statistics("^server.live$")) == {"server.live": 1}
    assert envoy.exit_code == 0
    with pytest.raises(ProcessLookupError):
        os.kill(envoy.pid, 0)
    assert "ENVOY_SIGTERM" in envoy.log_tail()


async def test_it_can_be_started_again(parameters, tmp_path):
    envoy = process(parameters(), tmp_path)
    for _ in range(2):
        await envoy.start()
        await envoy.wait_started()
        assert await envoy.stop(60) == 0


async def test_not_twice_at_once(parameters, tmp_path):
    async with process(parameters(), tmp_path) as envoy:
        with pytest.raises(EnvoyProcessError, match="runs already"):
            await envoy.start()


async def test_from_another_thread_it_is_refused(parameters, tmp_path):
    """It would be killed when that thread ends."""
    envoy = process(parameters(), tmp_path)
    with pytest.raises(EnvoyProcessError, match="main thread"):
        await asyncio.to_thread(asyncio.run, envoy.start())
    assert envoy.pid is None


async def test_an_envoy_that_ends_early_shows_its_last_words(parameters, tmp_path):
    chosen = parameters()
    config = render(chosen)
    config["dynamicResources"] = {"adsConfig": {"apiType": "GRPC"}}
    async with process(chosen, tmp_path, config) as envoy:
        with pytest.raises(EnvoyProcessError, match=r"ended with 1 before it was live\n.*API configs must have"):
            await envoy.wait_live()
        assert await envoy.wait() == 1


async def test_waiting_for_live_gives_up(parameters, tmp_path):
    async with process(parameters(), tmp_path) as envoy:
        await envoy.wait_started()
        for seconds in (0.2, 2.0, 20.0):
            with pytest.raises(EnvoyProcessError, match=rf"not live after {seconds} s but ") as raised:
                await envoy.wait_live(seconds)
            if "but silent" not in str(raised.value):  # as a busy machine leaves it for so short a time
                break
        assert "but PRE_INITIALIZING" in str(raised.value)


async def test_a_missing_binary_is_named(parameters, tmp_path):
    envoy = process(parameters(), tmp_path, binary=tmp_path / "nothing")
    with pytest.raises(EnvoyProcessError, match="nothing"):
        await envoy.start()
    assert await envoy.stop() is None


async def test_what_ignores_sigterm_is_killed(parameters, tmp_path):
    stubborn = tmp_path / "stubborn"
    stubborn.write_text("#!/bin/sh\ntrap '' TERM\necho started >&2\nwhile :; do sleep 0.1; done\n")
    stubborn.chmod(0o755)
    envoy = process(parameters(), tmp_path, binary=stubborn)
    await envoy.start()
    async with asyncio.timeout(60):
        while "started" not in envoy.log_tail():  # noqa: ASYNC110 - a log file has no events
            await asyncio.sleep(0.01)
    assert await envoy.stop(timeout_seconds=0.2) == -signal.SIGKILL


async def test_before_it_is_started_there_is_nothing_to_wait_for(parameters, tmp_path):
    envoy = process(parameters(), tmp_path)
    assert envoy.log_tail() == ""
    for attempt in (envoy.wait, envoy.wait_live):
        with pytest.raises(EnvoyProcessError, match="has not been started"):
            await attempt()


async def test_admin_passes_on_envoys_refusal(parameters, tmp_path):
    async with process(parameters(), tmp_path) as envoy:
        await envoy.wait_started()
        with pytest.raises(AdminError, match=r"GET /nothing: 404 invalid path"):
            await envoy.admin.get("/nothing")
        with pytest.raises(AdminError, match=r"GET /drain_listeners: 405"):
            await envoy.admin.get("/drain_listeners")
        dump = await envoy.admin.config_dump()
        assert any(config["@type"].endswith("BootstrapConfigDump") for config in dump["configs"])


async def test_drain_keeps_it_running(parameters, serve_ads, tmp_path):
    _, address = await serve_ads()
    async with process(parameters(control_plane=ControlPlane(address)), tmp_path) as envoy:
        await envoy.wait_live()
        await envoy.drain()
        assert await envoy.admin.state() == "LIVE"


async def test_the_bootstrap_on_disk_is_what_was_given(parameters, tmp_path):
    chosen = parameters()
    async with process(chosen, tmp_path) as envoy:
        await envoy.wait_started()
        assert json.loads((tmp_path / "bootstrap.json").read_text()) == render(chosen)
    assert stat.S_ISREG((tmp_path / "envoy.log").stat().st_mode)


async def test_envoy_does_not_outlive_a_parent_that_is_killed(parameters, tmp_path):
    chosen = parameters()
    (tmp_path / "config.json").write_text(json.dumps(render(chosen)))
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path), chosen.addresses.admin.host, stdout=asyncio.subprocess.PIPE
    )
    try:
        envoy = os.pidfd_open(int(await parent.stdout.readline()))
    finally:
        parent.kill()
        await parent.wait()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(envoy, ended.set)
    try:
        async with asyncio.timeout(60):
            await ended.wait()
    finally:
        asyncio.get_running_loop().remove_reader(envoy)
        os.close(envoy)


PARENT = """
import asyncio, json, pathlib, sys
from dragoman.sidecar import EnvoyProcess, SocketAddress, argv, find_envoy

async def main(directory, host):
    config = json.loads((directory / "config.json").read_text())
    envoy = EnvoyProcess(lambda path: argv(find_envoy(), path), config, directory, SocketAddress(host, 15000))
    await envoy.start()
    await envoy.wait_started()
    print(envoy.pid, flush=True)
    await envoy.wait()

asyncio.run(main(pathlib.Path(sys.argv[1]), sys.argv[2]))
"""
