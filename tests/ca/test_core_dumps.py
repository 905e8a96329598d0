"""A process that holds keys leaves no core file and keeps its memory to itself."""

import subprocess
import sys

FORBIDDEN = """
import ctypes, resource
from ca import core_dumps
core_dumps.forbid()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE))
"""


def test_core_dumps_are_forbidden() -> None:
    """prctl(2): PR_GET_DUMPABLE is 3."""
    done = subprocess.run([sys.executable, "-c", FORBIDDEN], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["0", "0", "0"]
