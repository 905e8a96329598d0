"""A program of one file that tests run, built from Go modules into the cache beside the API server's."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from e2e.apiserver.build import BuildError, find_go


@dataclass(frozen=True, slots=True)
class GoProgram:
    """What is built, and where it is found: `version` tells its builds apart, `variable` of the environment names
    another one."""

    name: str
    module: Path
    """Its folder pins all modules."""
    package: str
    version: str
    variable: str

    def cached(self, environment: Mapping[str, str] = os.environ) -> Path:
        """Where the built program is kept: below $XDG_CACHE_HOME."""
        root = environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME") or Path.home(), ".cache")
        return Path(root, "dragoman", f"{self.name}-{self.version}", self.name)

    def find(self, environment: Mapping[str, str] = os.environ) -> Path | None:
        """The program that the environment names, else the cache's."""
        path = Path(environment.get(self.variable) or self.cached(environment))
        return path if path.is_file() and os.access(path, os.X_OK) else None

    def build(self) -> Path:
        """Build it if the cache lacks it; it comes into being at once and whole. Raises BuildError."""
        target = self.cached()
        if target.exists():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            built = Path(scratch, self.name)
            # The state of the repository is none of its business, and would be another program after each commit.
            flags = ("-trimpath", "-buildvcs=false", "-ldflags", "-s -w")
            command = (find_go(), "build", *flags, "-o", built, self.package)
            done = subprocess.run(command, cwd=self.module, env=os.environ | {"CGO_ENABLED": "0"}, check=False)
            if done.returncode:
                raise BuildError(f"{self.name} was not built: go ended with {done.returncode}")
            built.rename(target)
        return target

    def main(self) -> int:
        """Build it, say so, and print its path. Returns the exit code: 0 it is there, 1 it could not be built."""
        sys.stderr.write(f"{self.name}: {self.version}\n")
        try:
            sys.stdout.write(f"{self.build()}\n")
        except BuildError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        return 0
