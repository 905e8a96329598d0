"""A whole Kubernetes cluster of one node, inside one network namespace, with real API server and controllers.

async with Kubernetes.running() as kubernetes:
    await kubernetes.apply(MANIFESTS)
    await kubernetes.rolled_out("Deployment", "server", "shop")
    answer = await kubernetes.client("client", "shop").http("http://server:8080/")

While it runs, the test itself is on the node: its sockets, and the programs that it starts.
"""

import asyncio
import contextlib
import json
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml

from dragoman.kube import resources
from dragoman.kube.cluster import Cluster
from dragoman.kube.errors import ApiError
from dragoman.kube.resource import ApiResource
from e2e.apiserver import programs
from e2e.harness.api_path import ApiPath
from e2e.harness.clients import Client
from e2e.harness.commands import run
from e2e.harness.kubelet import Image, Kubelet, Watched, dns, images
from e2e.harness.kubelet.configuration_objects import ConfigurationObjects
from e2e.harness.kubelet.pod_worker import NodeServices, PodWorker
from e2e.harness.kubelet.service_addresses import ServiceAddresses
from e2e.harness.namespaces import GATEWAY, Network
from e2e.harness.processes import ROOT
from tests.support.api_server import SERVICE_ADDRESSES, LocalApiServer

DNS_ADDRESS = "10.96.0.10"


class Kubernetes:
    """The cluster; see `running`."""

    def __init__(self, api: LocalApiServer, cluster: Cluster, network: Network, folder: Path) -> None:
        self.api = api
        self.cluster = cluster
        self.network = network
        self.folder = folder
        self.pods = Watched(cluster, resources.PODS)
        self._services = Watched(cluster, resources.SERVICES)
        self._slices = Watched(cluster, resources.ENDPOINT_SLICES)
        self._objects = ConfigurationObjects(
            Watched(cluster, resources.CONFIG_MAPS), Watched(cluster, resources.SECRETS)
        )
        self.addresses = ServiceAddresses(self._services, self._slices, network.node)
        self.kubelet: Kubelet
        self.api_path: ApiPath
        """Between the pods and the API server."""

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, extra_images: Mapping[str, Image] | None = None) -> AsyncIterator[Self]:
        """An empty cluster, all of which is gone at the end."""
        async with contextlib.AsyncExitStack() as stack:
            folder = stack.enter_context(_open_directory())
            network = await stack.enter_async_context(Network())
            await network.serve_services(SERVICE_ADDRESSES, DNS_ADDRESS)
            stack.enter_context(network.node.entered())
            api = stack.enter_context(LocalApiServer.running(address=GATEWAY))
            cluster = await stack.enter_async_context(await Cluster.connect(api.kubeconfig))
            self = cls(api, cluster, network, folder)
            self.api_path = await stack.enter_async_context(ApiPath.open(GATEWAY, api.address))
            await stack.enter_async_context(
                dns.serving(network.node, DNS_ADDRESS, self.addresses.addresses, self.addresses.alias)
            )
            await stack.enter_async_context(self._tasks(images(extra_images)))
            yield self

    @contextlib.asynccontextmanager
    async def _tasks(self, find: Callable[[str], Image]) -> AsyncIterator[None]:
        watched = (self.pods, self._services, self._slices, self._objects.config_maps, self._objects.secrets)
        following = [asyncio.create_task(each.run()) for each in watched]
        for each in watched:
            await each.synced.wait()
        node = NodeServices(
            name="node-a",
            cluster=self.cluster,
            network=self.network,
            images=find,
            objects=self._objects,
            folder=self.folder,
            nameserver=DNS_ADDRESS,
            api_server=self.api_path.address,
        )
        self.kubelet = Kubelet(node, self.pods)
        tasks = [asyncio.create_task(self.addresses.run()), asyncio.create_task(self.kubelet.run())]
        try:
            yield
        finally:
            for task in (*reversed(tasks), *following):
                task.cancel()
            await asyncio.gather(*tasks, *following, return_exceptions=True)

    async def apply(self, manifests: str | Sequence[Mapping[str, Any]], namespace: str = "default") -> None:
        """Make objects, or change them, as `kubectl apply --server-side` does: YAML, or the objects themselves."""
        documents = yaml.safe_load_all(manifests) if isinstance(manifests, str) else manifests
        for document in documents:
            if document is None:
                continue
            resource = await self.resource(document["apiVersion"], document["kind"])
            metadata = dict(document["metadata"])
            if resource.namespaced:
                metadata.setdefault("namespace", namespace)
            await self.cluster.apply(resource, {**document, "metadata": metadata}, field_manager="tests")

    async def resource(self, api_version: str, kind: str) -> ApiResource:
        """How the API server serves a kind (Kubernetes: API discovery). Raises LookupError when it does not."""
        group, _, version = api_version.rpartition("/")
        path = f"/apis/{api_version}" if group else f"/api/{api_version}"
        for served in json.loads(await self.cluster.request("GET", path))["resources"]:
            if served["kind"] == kind and "/" not in served["name"]:
                return ApiResource(group, version, served["name"], kind, served["namespaced"])
        raise LookupError(f"{api_version} has no {kind}")

    async def until(
        self,
        resource: ApiResource,
        name: str,
        namespace: str | None,
        condition: Callable[[Mapping[str, Any]], bool],
        *,
        seconds: float = 180,
    ) -> Mapping[str, Any]:
        """Wait for an object to be as wanted, and return it. Raises AssertionError with what it was instead."""
        found: object = None
        pause = 0.05
        try:
            async with asyncio.timeout(seconds):
                while True:
                    with contextlib.suppress(ApiError):
                        found = current = await self.cluster.get(resource, name, namespace)
                        if condition(current):
                            return current
                    await asyncio.sleep(pause)
                    # What takes seconds is looked at less often: each look costs the API server, too.
                    pause = min(1.2 * pause, 0.3)
        except TimeoutError:
            raise AssertionError(f"{resource.kind} {name} is not so within {seconds} s: {found}") from None

    async def gone(
        self, resource: ApiResource, name: str, namespace: str | None = None, *, seconds: float = 300
    ) -> None:
        """Wait for an object to be no more. Raises TimeoutError."""
        pause = 0.05
        async with asyncio.timeout(seconds):
            while True:
                try:
                    await self.cluster.get(resource, name, namespace)
                except ApiError as error:
                    if error.not_found:
                        return
                await asyncio.sleep(pause)
                pause = min(1.2 * pause, 0.3)

    async def rolled_out(self, name: str, namespace: str = "default", *, seconds: float = 300) -> None:
        """Wait until a Deployment has all of its pods, of its newest template, ready, and no others but those that go.

        `pods` and `running_pods` know them then; who calls them by their Service may not yet.
        """
        await self.until(resources.DEPLOYMENTS, name, namespace, _is_rolled_out, seconds=seconds)
        await self.pods.caught_up()

    async def is_rolled_out(self, name: str, namespace: str) -> bool:
        """Whether it is so now; see `rolled_out`."""
        return _is_rolled_out(await self.cluster.get(resources.DEPLOYMENTS, name, namespace))

    def running_pods(self, namespace: str, **labels: str) -> list[Mapping[str, Any]]:
        """The pods with these labels that are ready and not about to go, the oldest first."""
        found = [
            pod
            for pod in self.pods.objects
            if pod["metadata"]["namespace"] == namespace
            and labels.items() <= pod["metadata"].get("labels", {}).items()
            and "deletionTimestamp" not in pod["metadata"]
            and any(
                each["type"] == "Ready" and each["status"] == "True"
                for each in pod.get("status", {}).get("conditions", ())
            )
        ]
        return sorted(found, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))

    def worker(self, pod: Mapping[str, Any]) -> PodWorker:
        """What runs a pod. Raises LookupError when none does."""
        return self.kubelet.worker(pod)

    def client(self, pod: Mapping[str, Any]) -> Client:
        """Calls from a pod, as its application makes them."""
        place = self.worker(pod).place
        if place is None:
            raise LookupError(f"pod {pod['metadata']['name']} is not on the network")
        namespace = pod["metadata"]["namespace"]
        return Client(place, lambda name: self.addresses.resolve(name, namespace), uid=1000)

    async def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """The output of kubectl. Raises CommandError."""
        program = programs.find("kubectl")
        assert program is not None
        return await self.program(program, *arguments, stdin=stdin)

    async def program(self, *command: str | Path, stdin: str = "", environment: Mapping[str, str] | None = None) -> str:
        """The output of a program on the node, with an administrator's kubeconfig. Raises CommandError."""
        return await run(
            *map(str, command),
            stdin=stdin,
            environment={**os.environ, "KUBECONFIG": str(self.api.kubeconfig), **(environment or {})},
            directory=ROOT,
        )

    def logs(self, lines: int = 60) -> dict[str, str]:
        """The ends of all containers' logs, also of those of pods that are gone, and those of the API server."""
        found = {}
        for path in sorted(self.folder.glob("*/*.log")):
            text = path.read_text(errors="replace").splitlines()[-lines:]
            found[f"{path.parent.name}/{path.stem}"] = "\n".join(line[:1000] for line in text)
        return found | self.api.logs(20)


def _is_rolled_out(deployment: Mapping[str, Any]) -> bool:
    wanted = deployment["spec"]["replicas"]
    status = deployment.get("status", {})
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
        and status.get("replicas", 0) == wanted
        and status.get("updatedReplicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
    )


@contextlib.contextmanager
def _open_directory() -> Iterator[Path]:
    """A temporary folder that every user may enter, as containers' users are not root."""
    with tempfile.TemporaryDirectory(prefix="dragoman-node-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
