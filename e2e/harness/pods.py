"""A pod: its place on the network, its application, its Envoy, and the calls made from it."""

from collections.abc import Callable, Mapping
from typing import Any

from e2e.harness.clients import Client
from e2e.harness.envoys import Envoy
from e2e.harness.manifests import PodSpec
from e2e.harness.namespaces import Namespace
from e2e.harness.processes import Process, ProcessError

BootstrapOf = Callable[[PodSpec], Mapping[str, Any]]
"""Makes the bootstrap of a pod's Envoy, as JSON."""


class Pod(Client):
    """A running pod. As a `Client` it makes calls as its application does: through the Envoy, if it has one."""

    def __init__(self, spec: PodSpec, namespace: Namespace, resolve: Callable[[str], str]) -> None:
        super().__init__(namespace, resolve)
        self.spec = spec
        self.application: Process | None = None
        self.sidecar: Envoy | None = None

    @property
    def address(self) -> str:
        """Its IP address."""
        return self.spec.address

    @property
    def envoy(self) -> Envoy:
        """Its Envoy. Raises ProcessError when it has none."""
        if self.sidecar is None:
            raise ProcessError(f"pod {self.spec.name} has no sidecar")
        return self.sidecar

    @property
    def runs_envoy(self) -> bool:
        """Whether it has an Envoy, and that is running."""
        return self.sidecar is not None and self.sidecar.running

    def logs(self) -> Mapping[str, str]:
        """The ends of its programs' logs, by the name of the program."""
        logs = {}
        if self.application is not None:
            logs[self.application.name] = self.application.tail()
        if self.sidecar is not None:
            logs[f"Envoy {self.sidecar.name}"] = self.sidecar.tail()
        return logs
