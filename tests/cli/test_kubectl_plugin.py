"""`kubectl dragoman`: the same command, and its completion, as kubectl finds them on the path."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.apiserver import programs

BESIDE = Path(sys.executable).parent


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    path = f"{BESIDE}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True)


def test_it_knows_what_it_is_called() -> None:
    assert _run(BESIDE / "kubectl-dragoman", "ps", "--help").stdout.startswith("Usage: kubectl dragoman ps ")
    assert _run(BESIDE / "dragoman", "ps", "--help").stdout.startswith("Usage: dragoman ps ")


def test_proposals_as_kubectl_reads_them() -> None:
    complete = BESIDE / "kubectl_complete-dragoman"
    assert _run(complete, "proxy-").stdout == "proxy-status\nproxy-config\n:4\n"
    assert _run(complete, "proxy-config", "clus").stdout == "clusters\n:4\n"
    assert "serve\n" in _run(complete, "").stdout


def test_kubectl_finds_it() -> None:
    kubectl = programs.find("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl: build it with `make apiserver`")
    assert _run(kubectl, "dragoman", "version", "--no-remote").stdout.startswith("dragoman ")
    assert _run(kubectl, "__complete", "dragoman", "proxy-config", "clus").stdout.splitlines()[0] == "clusters"
