"""What kubectl offers after `kubectl dragoman`, as it asks plugins for it.

kubectl runs `kubectl_complete-dragoman` with the words so far, the last one unfinished, and reads a proposal a line and
then a directive, here that files are none (Kubernetes: kubectl plugins; cobra: ShellCompDirective).
"""

from __future__ import annotations

import os
import shlex
import sys
from typing import Final

from dragoman.cli.main import app

_NO_FILES: Final = ":4"


def main() -> None:
    """Entry point of the `kubectl_complete-dragoman` script."""
    words = ["dragoman", *(sys.argv[1:] or [""])]
    # As our own completion for bash is asked.
    os.environ |= {
        "_DRAGOMAN_COMPLETE": "complete_bash",
        "COMP_WORDS": shlex.join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    try:
        app(prog_name="dragoman")
    except SystemExit:
        sys.stdout.write(f"{_NO_FILES}\n")
