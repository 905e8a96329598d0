"""Istio's client of the certificate service, as it is written here; $ISTIO_CLIENT names another one."""

import hashlib
from pathlib import Path

from e2e.go_program import GoProgram

MODULE = Path(__file__).parent


def digest() -> str:
    """Of what the program is made from."""
    parts = (MODULE / name for name in ("main.go", "go.mod", "go.sum"))
    return hashlib.sha256(b"\0".join(part.read_bytes() for part in parts)).hexdigest()[:12]


ISTIO_CLIENT = GoProgram("istio-client", MODULE, ".", digest(), "ISTIO_CLIENT")
