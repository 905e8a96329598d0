"""No core dumps of a process that holds private keys, and no reading of its memory by others of the same user."""

from __future__ import annotations

import ctypes
import os
import resource
from typing import Final

_PR_SET_DUMPABLE: Final = 4


def forbid() -> None:
    """Forbid them for this process and its children that do not ask otherwise (prctl(2): PR_SET_DUMPABLE, which also
    keeps ptrace(2) and /proc/PID/mem from all but root). Raises OSError where the kernel refuses."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
