"""`python -m e2e.istio_client`: builds the client (some two minutes of one core), and prints its path.

Exit codes: 0 it is there; 1 it could not be built.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from e2e.apiserver.build import BuildError, find_go
from e2e.istio_client.program import MODULE, cached


def main() -> int:
    """Build it if the cache lacks it; it comes into being at once and whole."""
    target = cached()
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        sys.stderr.write("istio-client: Istio's client of the certificate service\n")
        try:
            go = find_go()
        except BuildError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            built = Path(scratch, "istio-client")
            # The state of the repository is none of its business, and would be another program after each commit.
            command = (go, "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", built, ".")
            done = subprocess.run(command, cwd=MODULE, env=os.environ | {"CGO_ENABLED": "0"}, check=False)
            if done.returncode:
                return 1
            built.rename(target)
    sys.stdout.write(f"{target}\n")
    return 0


sys.exit(main())
