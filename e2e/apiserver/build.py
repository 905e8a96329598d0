"""Builds Kubernetes' programs into the cache: some fifteen minutes of two cores and 2 GiB at the first time."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from e2e.apiserver.programs import NEWEST, Release

Tell = Callable[[str], None]

PROGRESS_SECONDS = 10.0
_SCRATCH = "building-"


class BuildError(Exception):
    """Go is not there, or it refused; the text says what it said."""


def find_go() -> Path:
    """The go command, of PATH or of the place where Go's own packages put it. Raises BuildError."""
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if found is None:
        raise BuildError("no go: neither on PATH nor in /usr/local/go/bin (https://go.dev/dl/)")
    return Path(found)


def build(tell: Tell, release: Release = NEWEST) -> Path:
    """Build the programs of a release that the cache lacks, and return its folder; who comes second waits.

    Each comes into being at once and whole, so that a build may be interrupted. Raises BuildError.
    """
    folder = release.cache()
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder.with_name(f"{folder.name}.lock"), tell):
        for left in folder.glob(f"{_SCRATCH}*"):  # by a build that was killed
            shutil.rmtree(left)
        missing = [name for name in release.packages if not (folder / name).exists()]
        go = find_go() if missing else None
        for name in missing:
            assert go is not None
            _build_one(go, release, name, folder / name, tell)
    return folder


@contextlib.contextmanager
def _alone(lock: Path, tell: Tell) -> Iterator[None]:
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("another build is on its way: waiting for it")
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _build_one(go: Path, release: Release, name: str, target: Path, tell: Tell) -> None:
    began = time.monotonic()
    package = release.packages[name]
    tell(f"{name}: {package} of Kubernetes {release.version}")
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=target.parent) as scratch:
        built = Path(scratch, name)
        # `-v` tells every package as it has been compiled; those that Go's own cache has are not told.
        flags = _linker_flags(release.version)
        command = ("nice", go, "build", "-v", "-trimpath", "-ldflags", flags, "-o", built, package)
        # What is built runs in any network namespace, and beside any C library.
        environment = {"HOME": str(Path.home()), **os.environ, "CGO_ENABLED": "0"}
        compiler = subprocess.Popen(command, cwd=release.module, env=environment, stderr=subprocess.PIPE, text=True)
        _follow(compiler, name, began, tell)
        built.rename(target)
    tell(f"{name}: {target.stat().st_size / 1e6:.0f} MB after {time.monotonic() - began:.0f} s")


def _follow(compiler: subprocess.Popen[str], name: str, began: float, tell: Tell) -> None:
    """Tell how far the compiler is until it ends. Raises BuildError with its last words when it fails."""
    assert compiler.stderr is not None
    packages, told = 0, began
    last_words: list[str] = []
    with compiler:
        for line in compiler.stderr:
            packages += 1
            last_words = [*last_words[-40:], line]
            if (now := time.monotonic()) - told >= PROGRESS_SECONDS:
                told = now
                tell(f"{name}: {packages} packages compiled, {now - began:.0f} s")
    if compiler.returncode:
        raise BuildError(f"{name} was not built: go ended with {compiler.returncode}\n{''.join(last_words)}")


def _linker_flags(version: str) -> str:
    """No symbols, which halves the files, and the version: without it the programs take themselves for v0.0.0."""
    major, minor, _ = version.split(".", 2)
    stamps = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor}
    return " ".join(("-s", "-w", *(f"-X k8s.io/component-base/version.{key}={value}" for key, value in stamps.items())))
