"""Telling on a terminal what a command waits for."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def progress(text: str) -> Iterator[None]:
    """Show a text and a sign of life on standard error while in the context; nothing where that is no terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    console = Console(stderr=True)
    with console.status(text):
        yield
