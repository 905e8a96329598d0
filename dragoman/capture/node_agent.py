"""The CNI plugin onto a node, and kept there: its program, its credentials, its place in the list of plugins.

What other agents of the node change meanwhile, as a network's own that writes its list anew, is put right. When the
agent ends in order the plugin leaves the list: without the agent its token would expire, and no pod could start.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dragoman.capture.chaining import TYPE, Plugin, chained, without

SECONDS: Final = 5.0
"""How often it is looked at: so long a pod may start without capture, which its `istio-validation` then stops."""

_FOLDER: Final = "dragoman-cni"
_MODULE: Final = "dragoman.capture.cni"


class NodeError(Exception):
    """The plugin cannot be put in place; the text says why."""


@dataclass(frozen=True, slots=True)
class Node:
    """The folders of a node as they are mounted here, and as the node itself calls them."""

    programs: Path
    configuration: Path
    programs_there: str
    configuration_there: str


@dataclass(frozen=True, slots=True)
class Source:
    """What is brought to the node: the bundle with the program, and the credentials of this pod."""

    bundle: Path
    token: Path
    authority: Path


class NodeAgent:
    """Keeps the plugin in place. `tell` is told what was changed and what is wrong."""

    def __init__(
        self,
        node: Node,
        source: Source,
        server: str,
        *,
        file: str = "",
        exclude_namespaces: tuple[str, ...] = (),
        backend: str = "auto",
        tell: Callable[[str], None],
    ) -> None:
        """`file` is the name of the list to be in; the first of the folder without one, as the runtime takes it."""
        self._node, self._source, self._file, self._tell = node, source, file, tell
        there = f"{node.configuration_there}/{_FOLDER}"
        self._plugin = Plugin(server, f"{there}/ca.crt", f"{there}/token", exclude_namespaces, backend)
        self._said = ""

    def run(self, stopped: threading.Event, *, ready: Callable[[bool], None] = lambda _: None) -> None:
        """Put it in place and keep it there until stopped; then take it out of the list."""
        try:
            while not stopped.is_set():
                ready(self._keep())
                stopped.wait(SECONDS)
        finally:
            self.leave()

    def put_in_place(self) -> None:
        """Once. Raises NodeError, and OSError."""
        self._program()
        folder = self._node.configuration / _FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        for name, source in (("ca.crt", self._source.authority), ("token", self._source.token)):
            _written(folder / name, source.read_bytes(), 0o600)
        path = self._list()
        if self._rewritten(path, lambda found: chained(found, self._plugin)):
            self._tell(f"{path.name}: the plugin is in the list")

    def leave(self) -> None:
        """Take the plugin out of every list, and its credentials off the node. The program stays: pods that are being
        made may be about to run it."""
        for path in self._lists():
            try:
                if self._rewritten(path, without):
                    self._tell(f"{path.name}: the plugin is no longer in the list")
            except (NodeError, OSError) as error:
                self._tell(f"{path.name}: {error}")
        shutil.rmtree(self._node.configuration / _FOLDER, ignore_errors=True)

    def _keep(self) -> bool:
        try:
            self.put_in_place()
        except (NodeError, OSError) as error:
            if str(error) != self._said:
                self._said = str(error)
                self._tell(self._said)
            return False
        self._said = ""
        return True

    def _program(self) -> None:
        """The bundle in a folder of its own for each content, and the program that runs it, replaced in one step."""
        name = f"{TYPE}.d-{_digest(self._source.bundle)}"
        bundle = self._node.programs / name
        if not bundle.exists():
            with tempfile.TemporaryDirectory(dir=self._node.programs, prefix=f".{TYPE}-") as scratch:
                copy = Path(scratch, "bundle")
                shutil.copytree(self._source.bundle, copy, symlinks=True)
                copy.rename(bundle)
            self._tell(f"{name}: copied")
        there = f"{self._node.programs_there}/{name}"
        text = f'#!/bin/sh\nPATH={there}/bin exec {there}/bin/python3 -I -B -m {_MODULE} "$@"\n'
        _written(self._node.programs / TYPE, text.encode(), 0o755)
        for old in self._node.programs.glob(f"{TYPE}.d-*"):
            if old.name != name:
                shutil.rmtree(old, ignore_errors=True)

    def _lists(self) -> Iterator[Path]:
        yield from sorted(self._node.configuration.glob("*.conflist"))

    def _list(self) -> Path:
        if self._file:
            path = self._node.configuration / self._file
            if not path.exists():
                raise NodeError(f"{path.name}: there is no such list of plugins yet")
            return path
        first = min(
            (path for path in self._node.configuration.iterdir() if path.suffix in (".conf", ".conflist", ".json")),
            default=None,
        )
        if first is None:
            raise NodeError("the network of this node has written no list of plugins yet")
        if first.suffix != ".conflist":
            raise NodeError(f"{first.name}: a single plugin, to which none can be chained: make it a .conflist")
        return first

    def _rewritten(self, path: Path, change: Callable[[Any], Any]) -> bool:
        """Whether a change of a list made it another."""
        try:
            before = json.loads(path.read_text())
            after = change(before)
        except ValueError as error:
            raise NodeError(f"{path.name}: {error}") from None
        if after == before:
            return False
        _written(path, json.dumps(after, indent=2).encode() + b"\n", path.stat().st_mode & 0o777)
        return True


def _written(path: Path, content: bytes, mode: int) -> None:
    """Replace a file in one step, if it is another."""
    if path.exists() and path.read_bytes() == content and path.stat().st_mode & 0o777 == mode:
        return
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)
    Path(name).rename(path)


def _digest(folder: Path) -> str:
    """What a folder has in it, as a short text: names, sizes and times of its files, which an image does not change."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        size = status.st_size if path.is_file() else 0
        found.update(f"{path.relative_to(folder)} {size} {status.st_mode} {int(status.st_mtime)}\n".encode())
    return found.hexdigest()[:12]
