"""The folder of YAML that belongs to the user: made from the demo's own, edited by hand or by the tour."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from dragoman.demo.addresses import WRITTEN_BLOCK


class EditError(ValueError):
    """A file does not contain what was to be replaced: somebody else has edited it."""


@dataclass(frozen=True, slots=True)
class MeshFolder:
    """A folder that the control plane follows."""

    path: Path

    def read(self, name: str) -> str:
        return (self.path / name).read_text()

    def write(self, name: str, text: str) -> float:
        """Write a whole file, as an editor does; the time (`time.monotonic`) at which this began."""
        started = time.monotonic()
        (self.path / name).write_text(text)
        return started

    def remove(self, name: str) -> float:
        """Delete a file; the time at which this began."""
        started = time.monotonic()
        (self.path / name).unlink()
        return started


def shipped(folder_name: str) -> Mapping[str, str]:
    """file name → text of YAML that comes with this package: `mesh`, or `ideas` to change it by."""
    folder = resources.files("dragoman.demo") / folder_name
    return {entry.name: entry.read_text() for entry in folder.iterdir() if entry.name.endswith(".yaml")}


def placed(text: str, prefix: str, ports: Mapping[int, int]) -> str:
    """The YAML with another block of addresses, and other ports where the usual ones are taken."""
    text = text.replace(WRITTEN_BLOCK, prefix)
    moved = {str(port): str(free) for port, free in ports.items() if port != free}
    if not moved:
        return text
    return re.sub(rf"\b({'|'.join(moved)})\b", lambda found: moved[found[0]], text)


def with_weights(text: str, *weights: int) -> str:
    """The YAML with its `weight`s, in their order, set to these; raises `EditError` when there are others."""
    left = list(weights)
    changed = re.sub(r"(\bweight: *)\d+", lambda found: f"{found[1]}{left.pop(0)}" if left else found[0], text)
    if left or len(re.findall(r"\bweight:", text)) != len(weights):
        raise EditError(f"expected {len(weights)} weights in:\n{text}")
    return changed
