"""Images: which program of this machine a container runs, as there is nothing to pull and nothing to unpack."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dragoman.sidecar.envoy import find_envoy
from e2e.harness.processes import ROOT


@dataclass(frozen=True, slots=True)
class Image:
    """What an image says of its containers (OCI: image configuration)."""

    entrypoint: tuple[str, ...] = ()
    """What runs, before the arguments, unless the container has a command of its own."""
    command: tuple[str, ...] = ()
    """The arguments, unless the container has some of its own."""
    user: int = 0
    group: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    """Where in the container what files of this machine are."""


Images = Callable[[str], Image]
"""The image of a reference, as in `docker.io/envoyproxy/envoy:v1.40.0`. Raises LookupError: ErrImagePull."""

_PYTHON = {"PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

KNOWN: Mapping[str, Image] = {
    "envoy": Image(("/usr/local/bin/envoy",), files={"/usr/local/bin/envoy": Path(find_envoy())}),
    "dragoman": Image(("dragoman",), user=1337, group=1337, environment=_PYTHON),
    # The test servers of `e2e.apps`.
    "echo": Image((sys.executable, "-m", "e2e.apps"), user=1000, group=1000, environment={"PYTHONPATH": str(ROOT)}),
    "shell": Image(("/bin/sh",), environment=_PYTHON),
}


def images(extra: Mapping[str, Image] | None = None) -> Images:
    """Images by the last part of their repository: `envoy`, `dragoman`, `echo`, `shell`, and further ones."""
    known = {**KNOWN, **(extra or {})}

    def find(reference: str) -> Image:
        return known[reference.partition("@")[0].rpartition("/")[2].partition(":")[0]]

    return find
