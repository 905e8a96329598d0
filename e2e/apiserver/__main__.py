"""`make apiserver`: builds the programs for the tests that need an API server, and prints their folder.

Exit codes: 0 all are there; 1 one could not be built.
"""

import sys

from e2e.apiserver.build import BuildError, build


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def main() -> int:
    """Build what is missing."""
    try:
        folder = build(_tell)
    except BuildError as error:
        _tell(f"{error}")
        return 1
    sys.stdout.write(f"{folder}\n")
    return 0


sys.exit(main())
