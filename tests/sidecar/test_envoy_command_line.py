import os
import subprocess
import sys
from pathlib import Path

import pytest

from dragoman.sidecar import EnvoyNotFoundError, argv, find_envoy

ELF = b"\x7fELF rest of a binary"


def executable(path: Path, content: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    return path


def test_the_first_binary_on_path_is_used(tmp_path):
    executable(tmp_path / "a" / "envoy", b"#!/usr/bin/env python\n")
    executable(tmp_path / "b" / "envoy", ELF).chmod(0o644)
    wanted = executable(tmp_path / "c" / "envoy", ELF)
    executable(tmp_path / "d" / "envoy", ELF)
    path = os.pathsep.join(str(tmp_path / name) for name in ("missing", "a", "b", "c", "d"))
    assert find_envoy({"PATH": path}) == wanted


def test_without_one_on_path_the_wheel_has_it():
    binary = find_envoy({"PATH": ""})
    assert binary.read_bytes()[:4] == b"\x7fELF"


@pytest.mark.envoy
def test_finding_the_wheels_binary_does_not_import_its_package():
    code = (
        "import sys; from dragoman.sidecar import find_envoy; find_envoy({'PATH': ''}); "
        "sys.exit('envoy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)


def test_no_envoy_says_how_to_get_one(monkeypatch):
    monkeypatch.setattr("importlib.metadata.files", lambda _: None)
    with pytest.raises(EnvoyNotFoundError, match=r"pip install 'dragoman\[envoy\]'"):
        find_envoy({"PATH": ""})


@pytest.mark.envoy
def test_envoy_accepts_every_argument(tmp_path):
    config = tmp_path / "empty.json"
    config.write_text("{}")
    command = argv(
        find_envoy(),
        config,
        drain_seconds=3,
        concurrency=1,
        log_level="info",
        component_log_levels={"upstream": "debug", "config": "trace"},
        service_node="node",
        service_cluster="cluster",
        reject_unknown_fields=True,
    )
    subprocess.run([*command, "--mode", "validate"], check=True, timeout=240, capture_output=True)


def test_options_left_out_are_left_to_the_bootstrap():
    command = argv("envoy", "config.json", concurrency=None)
    assert not {"--concurrency", "--service-node", "--service-cluster", "--component-log-level"} & set(command)
    assert "--disable-hot-restart" in command
