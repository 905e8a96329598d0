"""The demo as a visitor has it: a command, files to edit, Ctrl-C."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from demo_process import running
from outage import outage

pytestmark = pytest.mark.envoy


async def test_the_tour_goes_well_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async with running(tmp_path, "--check") as demo, asyncio.timeout(240):
        code = await demo.wait()
    assert code == 0, demo.output
    for step in (
        "identities",
        "weights 50/50",
        "weights 0/100",
        "canary",
        "DENY",
        "removed",
        "rotated",
        "steady traffic",
    ):
        assert step in demo.output
    assert demo.output.count("last ACK ") == demo.output.count("first effect ") == 6
    assert demo.left_behind() == []


async def test_a_tour_that_fails_says_why(tmp_path: Path) -> None:
    async with running(tmp_path, "--check") as demo, asyncio.timeout(240):
        await demo.programs_started()
        demo.write("outage.yaml", outage("catalog", 100))
        assert await demo.wait() == 1
    assert "dragoman: a request failed: status 503: fault filter abort" in demo.output
    assert demo.left_behind() == []


async def tells(command: str, expected: str) -> None:
    """What a visitor was told to try, tried."""
    process = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    assert expected in output.decode()


async def test_edits_are_followed_mistakes_are_told_and_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    async with running(tmp_path) as demo, asyncio.timeout(240):
        folder = Path((await demo.line(r"^  YAML ")).split()[1])
        gateway = (await demo.line("curl -s http")).split()[2]
        shown = await demo.line("proxy-status")
        await demo.line("Ctrl-C ends")
        await tells(f"curl -s {gateway}", '"caller": "spiffe://cluster.local/ns/shop/sa/catalog"')
        await tells(shown, "prices-v2.shop")
        route = folder / "prices-route.yaml"
        good = route.read_text()
        route.write_text(good.replace("weight: 100", "weight: all"))
        line = 1 + good[: good.index("weight: 100")].count("\n")
        told = await demo.line(rf"prices-route\.yaml:{line}: DRG\d+ ")
        assert "spec.http[0].route[0].weight" in told
        assert "the last good version stays in force" in told
        route.write_text(good)
        await demo.line("all files are in force")
        demo.process.send_signal(signal.SIGINT)
        # Again, as people do: the end may not be cut short by it.
        demo.process.send_signal(signal.SIGINT)
        assert await demo.wait() == 0
    assert "Traceback" not in demo.output
    assert demo.left_behind() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_while_it_starts_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    async with running(tmp_path) as demo, asyncio.timeout(120):
        await demo.programs_started()
        demo.process.send_signal(number)
        assert await demo.wait() == 0
    assert demo.left_behind() == []


async def test_no_process_outlives_a_demo_that_is_killed(tmp_path: Path) -> None:
    async with running(tmp_path) as demo, asyncio.timeout(120):
        await demo.line("Ctrl-C ends")
        assert len(demo.processes()) == 12, "the demo, six Envoys and five programs"
        demo.process.kill()
        await demo.gone()


async def test_what_dies_ends_the_demo_and_is_named(tmp_path: Path) -> None:
    async with running(tmp_path) as demo, asyncio.timeout(120):
        await demo.line("Ctrl-C ends")
        os.kill(demo.process_of("orders"), signal.SIGKILL)
        assert await demo.wait() == 1
    assert "orders-v1" in demo.output
    assert demo.left_behind() == []
