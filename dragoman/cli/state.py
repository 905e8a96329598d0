"""Where the control plane keeps what must survive it."""

from __future__ import annotations

import os
from pathlib import Path


def default_state_folder() -> Path:
    """`$XDG_STATE_HOME/dragoman`, by default `~/.local/state/dragoman` (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "dragoman"
