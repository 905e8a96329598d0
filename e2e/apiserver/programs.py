"""Where kube-apiserver and the programs around it are found, by the rules of controller-runtime's envtest."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ENVTEST_FOLDER = Path("/usr/local/kubebuilder/bin")

_API_SERVER = "k8s.io/kubernetes/cmd/kube-apiserver"
_EMULATED_MINORS = 3
"""An API server can be like those of so many minor versions before its own (Kubernetes: "Compatibility Version")."""


@dataclass(frozen=True, slots=True)
class Release:
    """One version of Kubernetes, pinned by a Go module, and what is built of it."""

    module: Path
    packages: Mapping[str, str]
    """The Go package of each program."""

    @property
    def version(self) -> str:
        """As in "1.36.3"."""
        pinned = re.search(
            r"^\s*(?:require )?k8s\.io/kubernetes v(\S+)", (self.module / "go.mod").read_text(), re.MULTILINE
        )
        if pinned is None:
            raise ValueError("go.mod requires no k8s.io/kubernetes")
        return pinned[1]

    def cache(self, environment: Mapping[str, str] = os.environ) -> Path:
        """The folder for what has been built: below $XDG_CACHE_HOME, by version."""
        root = environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME") or Path.home(), ".cache")
        return Path(root, "dragoman", f"kubernetes-{self.version}")

    @property
    def oldest(self) -> str:
        """The oldest minor version that its API server can be like, as "1.33"."""
        return f"1.{self._minor - _EMULATED_MINORS}"

    def can_be(self, minor: str) -> bool:
        """Whether its API server can be like one of a minor version."""
        return self._minor - _EMULATED_MINORS <= int(minor.split(".")[1]) <= self._minor

    @property
    def _minor(self) -> int:
        return int(self.version.split(".")[1])


_HERE = Path(__file__).parent

NEWEST = Release(
    _HERE,
    {
        "etcd": "go.etcd.io/etcd/server/v3",
        "kube-apiserver": _API_SERVER,
        "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
        "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    },
)

OLDER = Release(_HERE / "older", {"kube-apiserver": _API_SERVER})
"""Its API server can be like those that the newest can no longer be."""


def kubernetes_version() -> str:
    """The version of Kubernetes that the tests are for, as in "1.36.3"."""
    return NEWEST.version


def find_api_server(minor: str = "", environment: Mapping[str, str] = os.environ) -> Path | None:
    """kube-apiserver, or one that can be like one of a minor version; the older one is in the cache only."""
    if not minor or NEWEST.can_be(minor):
        return find("kube-apiserver", environment)
    return _program(OLDER.cache(environment) / "kube-apiserver") if OLDER.can_be(minor) else None


def find(name: str, environment: Mapping[str, str] = os.environ) -> Path | None:
    """A program: $TEST_ASSET_<NAME>, else $KUBEBUILDER_ASSETS/<name>, else the cache's, else envtest's folder's.

    Who names a place gets what is there or nothing (controller-runtime: pkg/internal/testing/process/bin_path_finder).
    """
    variable = "TEST_ASSET_" + re.sub(r"[^A-Z0-9]+", "_", name.upper())
    if named := environment.get(variable):
        return _program(Path(named))
    if folder := environment.get("KUBEBUILDER_ASSETS"):
        return _program(Path(folder, name))
    return _program(NEWEST.cache(environment) / name) or _program(ENVTEST_FOLDER / name)


def _program(path: Path) -> Path | None:
    return path if path.is_file() and os.access(path, os.X_OK) else None
