"""Golden folders: the output of every case is what its files say, and a real Envoy takes all of it over ADS."""

from __future__ import annotations

import subprocess
import sys

import pytest

from e2e.harness.requirements import missing, required
from tests.translators.golden import UPDATE, Case, cases, resources


@pytest.mark.parametrize("case", cases(), ids=str)
def test_output_is_as_recorded(case: Case) -> None:
    outputs = case.outputs(resources(case.mesh(), case.proxy))
    if UPDATE:
        case.update(outputs)
    assert case.expected() == outputs


@pytest.mark.envoy
@pytest.mark.netns
def test_a_real_envoy_takes_every_case() -> None:
    """All ACKed, nothing left warming, every route configuration there: see `serve_golden`."""
    if (why := missing()) is not None:
        if required():
            pytest.fail(why)
        pytest.skip(why)
    command = ["unshare", "--net", sys.executable, "-W", "ignore", "-m", "tests.translators.serve_golden"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    taken = {line.removesuffix(" taken") for line in done.stdout.splitlines() if line.endswith(" taken")}
    assert taken == set(map(str, cases()))
