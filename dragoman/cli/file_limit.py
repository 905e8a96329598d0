"""How many files the process may have open: each TLS connection needs up to three."""

from __future__ import annotations

import contextlib
import resource


def raise_file_limit() -> None:
    """Take what the system allows: the default of 1024 is there for programs that use select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
