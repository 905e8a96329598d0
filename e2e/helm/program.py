"""Helm, of the version that is pinned here; $HELM names another one."""

import re
from pathlib import Path

from e2e.go_program import GoProgram

MODULE = Path(__file__).parent


def version() -> str:
    """The version of Helm that the module pins, as in "3.22.0"."""
    pinned = re.search(r"helm\.sh/helm/v3 v(\S+)", (MODULE / "go.mod").read_text())
    if pinned is None:
        raise ValueError("go.mod requires no helm.sh/helm/v3")
    return pinned[1]


HELM = GoProgram("helm", MODULE, "helm.sh/helm/v3/cmd/helm", version(), "HELM")
