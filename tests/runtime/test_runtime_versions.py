"""Versions are the same in every process: a control plane that is started again sends nothing anew."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


async def test_versions_do_not_depend_on_the_process() -> None:
    """Python orders sets of strings anew in each process (PYTHONHASHSEED)."""
    first, second = await asyncio.gather(*(asyncio.to_thread(_versions, seed) for seed in ("1", "2")))
    assert first
    assert first == second


def _versions(seed: str) -> list[str]:
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join((str(HERE), *sys.path))}
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if line.startswith("version ")]


async def _print_versions() -> None:
    from test_runtime_control_plane import MESH, Running
    from test_runtime_quarantine import RULE

    async with Running(MESH + "---" + RULE.format(connections=1)) as running:
        session = await running.connect("web-1")
        for view in session.views:
            for resource in sorted(view.dump(), key=lambda resource: resource.ref):
                sys.stdout.write(f"version {resource.type_url} {resource.name} {resource.version}\n")


if __name__ == "__main__":
    asyncio.run(_print_versions())
