"""The end-to-end tests' cluster: see `e2e.harness.mesh`."""

from e2e.harness.answers import Answer, Echo
from e2e.harness.apps import Command, EchoApp
from e2e.harness.clients import Client
from e2e.harness.envoys import Envoy
from e2e.harness.eventually import eventually, failing
from e2e.harness.manifests import PodSpec, Port, ServiceSpec, mesh_settings
from e2e.harness.mesh import Mesh
from e2e.harness.pods import Pod
from e2e.harness.processes import ProcessError
from e2e.harness.served import served_mesh
from e2e.harness.tcp import TcpConnection
from e2e.harness.traffic import Outcome, Traffic

__all__ = [
    "Answer",
    "Client",
    "Command",
    "Echo",
    "EchoApp",
    "Envoy",
    "Mesh",
    "Outcome",
    "Pod",
    "PodSpec",
    "Port",
    "ProcessError",
    "ServiceSpec",
    "TcpConnection",
    "Traffic",
    "eventually",
    "failing",
    "mesh_settings",
    "served_mesh",
]
