"""Where helm is found: the cache's, of the version that is pinned, or the one of $HELM."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

MODULE = Path(__file__).parent
"""The Go module that pins what is built."""

PACKAGE = "helm.sh/helm/v3/cmd/helm"


def version() -> str:
    """The version of Helm that the module pins, as in "3.22.0"."""
    pinned = re.search(r"helm\.sh/helm/v3 v(\S+)", (MODULE / "go.mod").read_text())
    if pinned is None:
        raise ValueError("go.mod requires no helm.sh/helm/v3")
    return pinned[1]


def cached(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the built program is kept: below $XDG_CACHE_HOME, by version."""
    root = environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME") or Path.home(), ".cache")
    return Path(root, "dragoman", f"helm-{version()}", "helm")


def find(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The program: $HELM, else the cache's."""
    path = Path(environment["HELM"]) if environment.get("HELM") else cached(environment)
    return path if path.is_file() and os.access(path, os.X_OK) else None
