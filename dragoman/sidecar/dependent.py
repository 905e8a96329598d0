"""Processes that end when the process that started them does, however that happens."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

# prctl(2), PR_SET_PDEATHSIG is 1; the setting survives exec. Set by a program of its own that then becomes the command,
# and not by a `preexec_fn`, which makes Python fork the whole parent, with the threads of gRPC in it. A parent that
# died before the setting was made is noticed, too: it is not the parent any more.
_LAUNCHER: Final = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""


def dependent(command: Sequence[str]) -> tuple[str, ...]:
    """A command line that runs `command` as a child of this process, to be ended by SIGTERM when this process ends.

    To be started from the main thread: "parent" means the thread that forked (prctl(2), PR_SET_PDEATHSIG), and a thread
    of a pool may end at any time.
    """
    return (sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command)
