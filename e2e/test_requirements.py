"""On a machine without the tools a test of pods is skipped, and says why; where that must not be, it fails."""

import asyncio
import sys

import pytest

from e2e.harness.processes import ROOT

A_TEST_OF_PODS = "e2e/test_harness.py::test_nothing_is_left_of_a_mesh_whose_test_failed"


@pytest.mark.parametrize(
    ("environment", "outcome"), [({}, "1 skipped"), ({"REQUIRE_NETNS": "1"}, "1 error")], ids=["skipped", "required"]
)
async def test_without_the_tools(environment: dict[str, str], outcome: str) -> None:
    run = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        A_TEST_OF_PODS,
        cwd=ROOT,
        env={"PATH": "/nonexistent", "COLUMNS": "200", **environment},
        stdout=asyncio.subprocess.PIPE,
    )
    output = (await run.communicate())[0].decode()
    assert outcome in output
    assert "network namespaces need root" in output or "ip is not installed" in output, "the reason is not told"
