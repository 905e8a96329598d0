"""`make apiserver`: builds the programs for the tests that need an API server, and prints their folders.

With --older also the API server that can be like the oldest that are supported: some six minutes of two cores more.

Exit codes: 0 all are there; 1 one could not be built; 2 wrong usage.
"""

import argparse
import sys

from e2e.apiserver.build import BuildError, build
from e2e.apiserver.programs import NEWEST, OLDER


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def main() -> int:
    """Build what is missing."""
    arguments = argparse.ArgumentParser(prog="python -m e2e.apiserver", description="Builds what the cache lacks.")
    arguments.add_argument("--older", action="store_true", help=f"kube-apiserver {OLDER.version}, too")
    releases = (NEWEST, OLDER) if arguments.parse_args().older else (NEWEST,)
    for release in releases:
        try:
            folder = build(_tell, release)
        except BuildError as error:
            _tell(f"{error}")
            return 1
        sys.stdout.write(f"{folder}\n")
    return 0


sys.exit(main())
