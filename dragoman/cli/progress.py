"""Telling on a terminal what a command waits for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console


@contextlib.contextmanager
def progress(text: str) -> Iterator[None]:
    """Show a text and a sign of life on standard error while in the context; nothing where that is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(text):
        yield
