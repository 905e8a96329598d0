"""Where the client is found: the cache's, of what is written here, or the one of $ISTIO_CLIENT."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

MODULE = Path(__file__).parent
"""The Go module: what is built, and of which version of Istio."""


def digest() -> str:
    """Of what the program is made from."""
    parts = (MODULE / name for name in ("main.go", "go.mod", "go.sum"))
    return hashlib.sha256(b"\0".join(part.read_bytes() for part in parts)).hexdigest()[:12]


def cached(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the built program is kept: below $XDG_CACHE_HOME, by what it is made from."""
    root = environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME") or Path.home(), ".cache")
    return Path(root, "dragoman", f"istio-client-{digest()}", "istio-client")


def find(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The program: $ISTIO_CLIENT, else the cache's."""
    path = Path(environment["ISTIO_CLIENT"]) if environment.get("ISTIO_CLIENT") else cached(environment)
    return path if path.is_file() and os.access(path, os.X_OK) else None
