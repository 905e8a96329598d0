"""What the tests of an installed operator have in common: how it is installed, and the shop that it serves."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from e2e.harness import Traffic
from e2e.harness.capture import PROXY_ID
from e2e.harness.envoys import ADMIN
from e2e.harness.kubernetes import Kubernetes

DRAGOMAN = Path(sys.executable).with_name("dragoman")
_LOOK_SECONDS = 0.25
"""Between looks at Envoys, of which each is asked for its statistics: absences last for seconds."""


async def install(kubernetes: Kubernetes, *further: str) -> None:
    """Install the control plane with two replicas, whatever their load, and with further values."""
    values = ("pilot.autoscaleEnabled=false", "pilot.replicaCount=2", *further)
    settings = [word for value in values for word in ("--set", value)]
    await kubernetes.program(DRAGOMAN, "install", "--timeout=180s", *settings)


def deployment(name: str, version: str = "v1", *, replicas: int = 1) -> str:
    """A Deployment of the echo application, which is ready as soon as it listens.

    It ends at once when it is told to. So, as with any in Kubernetes, its pod goes on for as long as others may take to
    learn that it goes (Kubernetes: Pod Lifecycle, termination of Pods).
    """
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}-{version}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}, version: {version}}}}}
  template:
    metadata: {{labels: {{app: {name}, version: {version}}}}}
    spec:
      serviceAccountName: {name}
      containers:
      - name: {name}
        image: echo
        args: [--workload={name}, --version={version}, --http=8080]
        ports: [{{name: http, containerPort: 8080}}]
        readinessProbe: {{httpGet: {{port: http}}, periodSeconds: 1, timeoutSeconds: 10}}
        lifecycle: {{preStop: {{sleep: {{seconds: 3}}}}}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: http, port: 8080}}]
---
"""


def canary(percent: int) -> str:
    """So many of a hundred requests go to the second version."""
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: server}}
spec:
  hosts: [server]
  http:
  - route:
    - {{destination: {{host: server, subset: v1}}, weight: {100 - percent}}}
    - {{destination: {{host: server, subset: v2}}, weight: {percent}}}
"""


@contextlib.asynccontextmanager
async def loaded(kubernetes: Kubernetes, *, per_second: float = 30) -> AsyncIterator[Traffic]:
    """Steady requests of the client, of which none may fail."""
    (client,) = kubernetes.running_pods("shop", app="client")
    async with kubernetes.client(client).traffic("http://server:8080/", per_second=per_second) as traffic:
        await traffic.more(10)
        yield traffic
    assert not traffic.errors
    assert set(traffic.statuses) == {200}


async def pods_gone(kubernetes: Kubernetes, namespace: str) -> None:
    """Wait until no pod of a namespace is about to go: their connections have come to their end."""
    await kubernetes.pods.caught_up()
    async with asyncio.timeout(300):
        while any(
            "deletionTimestamp" in pod["metadata"]
            for pod in kubernetes.pods.objects
            if pod["metadata"]["namespace"] == namespace
        ):
            await kubernetes.pods.changed()


async def statistics(kubernetes: Kubernetes, pod: Mapping[str, Any], pattern: str) -> Mapping[str, int]:
    """Counters and gauges of the Envoy in a pod, by name, in which a regular expression is found."""
    envoy = kubernetes.client(pod).as_user(PROXY_ID)
    answer = await envoy.http(f"{ADMIN}/stats?" + urlencode({"format": "json", "filter": pattern}))
    return {each["name"]: each["value"] for each in answer.json["stats"] if "value" in each}


class Absence:
    """How long Envoys have been without a control plane: see `watched`."""

    def __init__(self) -> None:
        self.longest = 0.0
        """Seconds."""
        self._since: dict[str, float] = {}

    @contextlib.asynccontextmanager
    async def watched(self, kubernetes: Kubernetes, pods: Sequence[Mapping[str, Any]]) -> AsyncIterator[None]:
        """Look at the Envoys of these pods time and again, and at the end until all of them are connected."""

        async def look() -> None:
            while True:
                await self._look(kubernetes, pods)
                await asyncio.sleep(_LOOK_SECONDS)

        looking = asyncio.create_task(look())
        try:
            yield
        finally:
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking
        async with asyncio.timeout(60):
            while self._since:
                await self._look(kubernetes, pods)
                await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self, kubernetes: Kubernetes, pods: Sequence[Mapping[str, Any]]) -> None:
        for pod in pods:
            name = pod["metadata"]["name"]
            found = await statistics(kubernetes, pod, "^cluster.xds-grpc.upstream_(cx|rq)_active$")
            now = asyncio.get_running_loop().time()
            # A connection, and the stream on it.
            if min(found.values()):
                self.longest = max(self.longest, now - self._since.pop(name, now))
            else:
                self._since.setdefault(name, now)
