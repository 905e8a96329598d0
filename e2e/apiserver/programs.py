"""Where kube-apiserver and the programs around it are found, by the rules of controller-runtime's envtest."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

MODULE = Path(__file__).parent
"""The Go module that pins what is built."""

PACKAGES: Mapping[str, str] = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
}
"""The Go package of each program."""

ENVTEST_FOLDER = Path("/usr/local/kubebuilder/bin")


def kubernetes_version() -> str:
    """The version of Kubernetes that the module pins, as in "1.36.3"."""
    pinned = re.search(r"^\s*k8s\.io/kubernetes v(\S+)", (MODULE / "go.mod").read_text(), re.MULTILINE)
    if pinned is None:
        raise ValueError("go.mod requires no k8s.io/kubernetes")
    return pinned[1]


def cache(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder for what has been built: below $XDG_CACHE_HOME, by the version of Kubernetes."""
    root = environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME") or Path.home(), ".cache")
    return Path(root, "dragoman", f"kubernetes-{kubernetes_version()}")


def find(name: str, environment: Mapping[str, str] = os.environ) -> Path | None:
    """A program: $TEST_ASSET_<NAME>, else $KUBEBUILDER_ASSETS/<name>, else the cache's, else envtest's folder's.

    Who names a place gets what is there or nothing (controller-runtime: pkg/internal/testing/process/bin_path_finder).
    """
    variable = "TEST_ASSET_" + re.sub(r"[^A-Z0-9]+", "_", name.upper())
    if named := environment.get(variable):
        return _program(Path(named))
    if folder := environment.get("KUBEBUILDER_ASSETS"):
        return _program(Path(folder, name))
    return _program(cache(environment) / name) or _program(ENVTEST_FOLDER / name)


def _program(path: Path) -> Path | None:
    return path if path.is_file() and os.access(path, os.X_OK) else None
