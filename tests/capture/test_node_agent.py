"""The CNI plugin on a node: brought there, chained, put back when others undo it, and gone when the agent ends."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from dragoman.capture.chaining import Plugin, chained, without
from dragoman.capture.node_agent import Node, NodeAgent, NodeError, Source

NETWORK: dict[str, Any] = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "plugins": [{"type": "bridge", "bridge": "cni0"}, {"type": "portmap"}],
}
PLUGIN = Plugin("https://10.96.0.1:443", "/etc/ca.crt", "/etc/token", ("kube-system",))


def types(configuration: dict[str, Any]) -> list[str]:
    return [each["type"] for each in configuration["plugins"]]


def test_it_is_the_last_one_once() -> None:
    once = chained(NETWORK, PLUGIN)
    assert types(once) == ["bridge", "portmap", "dragoman-cni"]
    assert chained(once, PLUGIN) == once
    assert chained(once, Plugin("https://other", "a", "b"))["plugins"][-1]["kubernetes"]["server"] == "https://other"
    assert without(once) == NETWORK


@pytest.mark.parametrize("wrong", [{}, {"plugins": "x"}, {"plugins": []}, {"type": "bridge"}])
def test_there_must_be_something_to_chain_to(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no list of plugins|no plugin to chain to"):
        chained(wrong, PLUGIN)


class Machine:
    """A node in a folder, and what the agent's image and pod have."""

    def __init__(self, folder: Path) -> None:
        self.programs, self.configuration = folder / "bin", folder / "net.d"
        self.bundle, self.account = folder / "bundle", folder / "account"
        for each in (self.programs, self.configuration, self.bundle / "bin", self.account):
            each.mkdir(parents=True)
        (self.bundle / "bin" / "python3").write_text("#!/bin/sh\necho plugin")
        (self.bundle / "bin" / "python3").chmod(0o755)
        (self.account / "token").write_text("first")
        (self.account / "ca.crt").write_text("roots")
        self.list = self.configuration / "10-pods.conflist"
        self.list.write_text(json.dumps(NETWORK))
        self.told: list[str] = []

    def agent(self, file: str = "") -> NodeAgent:
        node = Node(self.programs, self.configuration, str(self.programs), "/etc/cni/net.d")
        source = Source(self.bundle, self.account / "token", self.account / "ca.crt")
        return NodeAgent(node, source, "https://10.96.0.1:443", file=file, tell=self.told.append)

    @property
    def plugins(self) -> list[str]:
        return types(json.loads(self.list.read_text()))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_program_credentials_and_list_are_put_in_place(machine: Machine) -> None:
    machine.agent().put_in_place()
    program = machine.programs / "dragoman-cni"
    assert os.access(program, os.X_OK)
    assert subprocess.check_output([program], text=True) == "plugin\n"
    assert machine.plugins == ["bridge", "portmap", "dragoman-cni"]
    kept = machine.configuration / "dragoman-cni"
    assert (kept / "token").read_text() == "first"
    assert (kept / "token").stat().st_mode & 0o777 == 0o600
    entry = json.loads(machine.list.read_text())["plugins"][-1]
    assert entry["kubernetes"]["ca_file"] == "/etc/cni/net.d/dragoman-cni/ca.crt"
    assert not any(
        path.name.startswith(".") for path in (*machine.programs.iterdir(), *machine.configuration.iterdir())
    )


def test_nothing_is_written_when_nothing_changed(machine: Machine) -> None:
    agent = machine.agent()
    agent.put_in_place()

    def files() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in machine.list.parents[1].rglob("*") if path.is_file()}

    before = files()
    agent.put_in_place()
    assert files() == before
    assert len(machine.told) == 2


def test_what_others_write_is_put_right_and_the_token_follows(machine: Machine) -> None:
    agent = machine.agent()
    agent.put_in_place()
    machine.list.write_text(json.dumps(NETWORK | {"name": "rewritten"}))
    (machine.account / "token").write_text("second")
    agent.put_in_place()
    assert machine.plugins[-1] == "dragoman-cni"
    assert json.loads(machine.list.read_text())["name"] == "rewritten"
    assert (machine.configuration / "dragoman-cni" / "token").read_text() == "second"


def test_another_version_takes_the_place_of_the_one_before(machine: Machine) -> None:
    agent = machine.agent()
    agent.put_in_place()
    (machine.bundle / "bin" / "python3").write_text("#!/bin/sh\necho another")
    agent.put_in_place()
    assert subprocess.check_output([machine.programs / "dragoman-cni"], text=True) == "another\n"
    assert len(list(machine.programs.glob("dragoman-cni.d-*"))) == 1


@pytest.mark.parametrize(
    ("files", "named", "said"),
    [
        ({}, "", "has written no list"),
        ({"05-single.conf": '{"type": "bridge"}', "10-pods.conflist": "{}"}, "", "make it a .conflist"),
        ({"10-pods.conflist": "{"}, "", "10-pods.conflist: "),
        ({"10-pods.conflist": "{}"}, "20-other.conflist", "there is no such list"),
    ],
)
def test_says_why_it_cannot(machine: Machine, files: dict[str, str], named: str, said: str) -> None:
    machine.list.unlink()
    for name, text in files.items():
        (machine.configuration / name).write_text(text)
    with pytest.raises(NodeError, match=said):
        machine.agent(named).put_in_place()


def test_it_waits_for_the_network_and_leaves_in_order(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dragoman.capture.node_agent.SECONDS", 0.01)
    machine.list.unlink()
    stopped, states = threading.Event(), list[bool]()

    def ready(is_in_place: bool) -> None:
        states.append(is_in_place)
        if is_in_place:
            assert machine.plugins[-1] == "dragoman-cni"
            stopped.set()
        else:
            machine.list.write_text(json.dumps(NETWORK))

    machine.agent().run(stopped, ready=ready)
    assert states == [False, True]
    assert machine.plugins == ["bridge", "portmap"]
    assert not (machine.configuration / "dragoman-cni").exists()
