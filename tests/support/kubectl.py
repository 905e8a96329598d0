"""kubectl, for tests of what its users see."""

import asyncio
import shutil
from pathlib import Path
from subprocess import PIPE, CompletedProcess
from typing import Protocol

import pytest

from e2e.apiserver import programs

_SECONDS = 180.0


class Kubectl(Protocol):
    """Runs a command against the cluster of a kubeconfig, with `text` as standard input, and waits for its end."""

    async def __call__(self, kubeconfig: Path, *arguments: str, text: str = "") -> CompletedProcess[str]: ...


@pytest.fixture
def kubectl() -> Kubectl:
    """Skips the test where there is none."""
    program = programs.find("kubectl") or shutil.which("kubectl")
    if program is None:
        pytest.skip("no kubectl: `make apiserver` builds one")

    async def run(kubeconfig: Path, *arguments: str, text: str = "") -> CompletedProcess[str]:
        command = (str(program), f"--kubeconfig={kubeconfig}", *arguments)
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        async with asyncio.timeout(_SECONDS):
            out, err = await process.communicate(text.encode())
        return CompletedProcess(command, process.returncode or 0, out.decode(), err.decode())

    return run
