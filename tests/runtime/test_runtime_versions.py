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
    ours = await _lines()
    assert ours
    assert ours == await asyncio.to_thread(_of_another, "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1")


def _of_another(seed: str) -> list[str]:
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join((str(HERE), *sys.path))}
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if line.startswith("version ")]


async def _lines() -> list[str]:
    from test_runtime_control_plane import MESH, Running
    from test_runtime_quarantine import RULE

    async with Running(MESH + "---" + RULE.format(connections=1)) as running:
        session = await running.connect("web-1")
        return [
            f"version {resource.type_url} {resource.name} {resource.version}"
            for view in session.views
            for resource in sorted(view.dump(), key=lambda resource: resource.ref)
        ]


if __name__ == "__main__":
    sys.stdout.write("\n".join(asyncio.run(_lines())))
