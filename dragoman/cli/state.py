"""Where the control plane keeps what must survive it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import typer


def default_state_folder() -> Path:
    """`$XDG_STATE_HOME/dragoman`, by default `~/.local/state/dragoman` (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "dragoman"


def state_dir_option(meaning: str) -> Any:
    """`--state-dir`: that folder, and what it is to a command."""
    return typer.Option("--state-dir", help=meaning, show_default="$XDG_STATE_HOME/dragoman", file_okay=False)


def root_file(state: Path) -> Path:
    """Where a running control plane keeps its trust bundle, PEM, for whoever bootstraps a proxy on this machine."""
    return state / "root-cert.pem"


def token_folder(state: Path) -> Path:
    """Where the key is that signs tokens outside of a cluster."""
    return state / "tokens"
