"""Applications in pods."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from e2e.harness import processes
from e2e.harness.namespaces import Namespace
from e2e.harness.processes import Process

APPLICATION_ID = 1000
"""User id of applications: any but Envoy's."""


class App(Protocol):
    """A program for a pod: how it is started, and the TCP ports by which it is known to be up."""

    @property
    def ports(self) -> Sequence[int]:
        """Ports it listens on."""

    def argv(self, workload: str, version: str) -> Sequence[str]:
        """Its command line in the pod of a workload."""

    def environment(self) -> Mapping[str, str]:
        """Its environment, beside PATH."""


@dataclass(frozen=True, slots=True)
class EchoApp:
    """The test servers of `e2e.apps`, each on the ports given."""

    http: tuple[int, ...] = ()
    https: tuple[int, ...] = ()
    grpc: tuple[int, ...] = ()
    tcp: tuple[int, ...] = ()
    greeting: tuple[int, ...] = ()

    @property
    def ports(self) -> Sequence[int]:
        """Ports it listens on."""
        return (*self.http, *self.https, *self.grpc, *self.tcp, *self.greeting)

    def argv(self, workload: str, version: str) -> Sequence[str]:
        """Its command line in the pod of a workload."""
        options = {
            "--http": self.http,
            "--https": self.https,
            "--grpc": self.grpc,
            "--tcp": self.tcp,
            "--greeting": self.greeting,
        }
        ports = (text for option, ports in options.items() for port in ports for text in (option, str(port)))
        return (sys.executable, "-m", "e2e.apps", "--workload", workload, "--version", version, *ports)

    def environment(self) -> Mapping[str, str]:
        """Nothing."""
        return {}


@dataclass(frozen=True, slots=True)
class Command:
    """Any other program."""

    command: tuple[str, ...]
    ports: tuple[int, ...]
    variables: tuple[tuple[str, str], ...] = ()

    def argv(self, workload: str, version: str) -> Sequence[str]:
        """The command as it is."""
        return self.command

    def environment(self) -> Mapping[str, str]:
        """The variables given."""
        return dict(self.variables)


async def start(app: App, namespace: Namespace, workload: str, version: str, log: Path) -> Process:
    """Start an application and wait until it listens on its ports. Raises ProcessError."""
    process = await processes.start(
        namespace.name,
        *app.argv(workload, version),
        name=f"application {workload} {version}",
        log=log,
        uid=APPLICATION_ID,
        environment=app.environment(),
    )
    try:
        await process.listening(namespace.path, *app.ports)
    except BaseException:
        await process.kill()
        raise
    return process
