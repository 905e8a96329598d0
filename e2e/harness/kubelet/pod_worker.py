"""One pod of the node: its place on the network, its volumes, and the order in which its containers come and go."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dragoman.kube.cluster import Cluster
from dragoman.kube.errors import ApiError
from dragoman.kube.resources import PODS
from e2e.harness.kubelet import environment, identity, root_filesystem
from e2e.harness.kubelet.configuration_objects import ConfigurationObjects
from e2e.harness.kubelet.container import Container, Policy
from e2e.harness.kubelet.images import Images
from e2e.harness.kubelet.pod_facts import PodFacts
from e2e.harness.kubelet.probes import Target
from e2e.harness.kubelet.root_filesystem import Mount
from e2e.harness.kubelet.started import STARTED, started_signal
from e2e.harness.kubelet.states import pod_status
from e2e.harness.kubelet.volumes import Volumes
from e2e.harness.kubelet.watching import Object
from e2e.harness.namespaces import GATEWAY, Namespace, Network
from e2e.harness.processes import ROOT, Process

RETRY_SECONDS = 0.5
REFRESH_SECONDS = 1.0
"""How soon a volume shows a change of the object behind it; the kubelet's is a minute."""


@dataclass(frozen=True, slots=True)
class NodeServices:
    """What the pods of a node have in common."""

    name: str
    cluster: Cluster
    network: Network
    images: Images
    objects: ConfigurationObjects
    folder: Path
    nameserver: str
    api_server: tuple[str, int]
    """Where pods reach the API server: what KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT say."""


class PodWorker:
    """`run` is the whole life of a pod that has been bound to this node; `terminate` tells that it has been deleted."""

    def __init__(self, node: NodeServices, pod: Object) -> None:
        self._node = node
        self._pod = pod
        metadata = pod["metadata"]
        self._path = PODS.path(metadata["namespace"], metadata["name"])
        self.folder = node.folder / f"{metadata['namespace']}_{metadata['name']}_{metadata['uid'][:8]}"
        self._init: list[Container] = []
        self._main: list[Container] = []
        self._told: Mapping[str, Any] = pod.get("status", {})
        self._finished = False
        self._grace: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._news = asyncio.Event()
        self.place: Namespace | None = None

    @property
    def containers(self) -> Mapping[str, Container]:
        """All of its containers by name."""
        return {container.name: container for container in (*self._init, *self._main)}

    def log(self, container: str) -> Path:
        """What a container has said, in all of its lives."""
        return self.folder / f"{container}.log"

    def terminate(self, grace: float) -> None:
        """The pod has been deleted: end it within so many seconds."""
        if not self._grace.done():
            self._grace.set_result(grace)

    def update(self, pod: Object) -> None:
        """The pod as it is now: labels and annotations may change."""
        self._pod = pod

    async def run(self) -> None:
        """Run the pod until it has been deleted, and say so to the API server."""
        self.folder.mkdir()
        name = (
            f"{self._pod['metadata']['namespace']}-{self._pod['metadata']['name']}-{self._pod['metadata']['uid'][:4]}"
        )
        self.place = place = await self._node.network.add(name)
        telling = asyncio.create_task(self._tell())
        try:
            await self._live(place)
            await self._gone()
        finally:
            telling.cancel()
            # Also when the tests end before the pod.
            await asyncio.shield(self._stop_all(0))
            await self._node.network.remove(place)

    async def _live(self, place: Namespace) -> None:
        """From the first container to the last, or to the pod's deletion."""
        living = asyncio.create_task(self._start(place))
        self._grace.add_done_callback(lambda _: living.cancel())
        await asyncio.wait([living])
        if living.cancelled():
            await self._stop_all(self._grace.result())
        else:
            living.result()
            await self._stop_all(self._pod["spec"]["terminationGracePeriodSeconds"])
        self._finished = True
        self._news.set()
        await self._grace

    async def _start(self, place: Namespace) -> None:
        """Start everything in its order; returns when all main containers have ended for good, or one before them."""
        facts = PodFacts(self._pod, place.address, self._node.name, GATEWAY)
        volumes = Volumes(self.folder / "volumes", facts, self._node.objects, self._node.cluster)
        spec = self._pod["spec"]
        for each in spec.get("initContainers", ()):
            policy: Policy = each.get("restartPolicy") or ("Never" if spec["restartPolicy"] == "Never" else "OnFailure")
            self._init.append(self._container(each, policy, place, facts, volumes))
        self._main = [
            self._container(each, spec["restartPolicy"], place, facts, volumes) for each in spec["containers"]
        ]
        self._news.set()
        await self._filled(volumes)
        refreshing = asyncio.create_task(self._refresh(volumes))
        try:
            for container in self._init:
                life = container.run()
                if container.spec.get("restartPolicy") == "Always":
                    await container.up.wait()
                    continue
                # Waited for rather than awaited: that the pod is deleted does not cancel them, but stops them.
                await asyncio.wait([life])
                if life.result():
                    return
            await asyncio.wait([container.run() for container in self._main])
        finally:
            refreshing.cancel()

    def _container(
        self, spec: Object, policy: Policy, place: Namespace, facts: PodFacts, volumes: Volumes
    ) -> Container:
        async def start() -> Process:
            return await self._launch(spec, place, facts, volumes)

        async def execute(command: list[str], seconds: float) -> int:
            process = await self.execute(spec["name"], command)
            try:
                async with asyncio.timeout(seconds):
                    return await process.wait()
            finally:
                if process.running:
                    await process.kill()

        return Container(spec, policy, start, Target(spec, place.address, execute), self._news.set)

    async def execute(self, container: str, command: list[str]) -> Process:
        """Start a command in a running container. Raises LookupError when it does not run."""
        running = self.containers[container]
        if running.process is None or not running.process.running:
            raise LookupError(f"container {container} does not run")
        facts = PodFacts(self._pod, self.place.address if self.place else "", self._node.name, GATEWAY)
        image = self._node.images(running.spec["image"])
        variables = environment.environment(running.spec, image, facts, self._node.objects, self._node.api_server)
        enter = ("nsenter", "--target", str(running.process.pid), "--mount", "--net", "--uts", "--root", "--wd")
        become = identity.launcher(running.spec, self._pod, image)
        return await _spawn((*enter, *become, *command), variables, container, self.log(container))

    async def _launch(self, spec: Object, place: Namespace, facts: PodFacts, volumes: Volumes) -> Process:
        """Start a container's program. Raises LookupError for what it needs and is not there."""
        image = self._node.images(spec["image"])
        variables = environment.environment(spec, image, facts, self._node.objects, self._node.api_server)
        command = environment.command(spec, image, variables)
        metadata = self._pod["metadata"]
        mounts = [
            *root_filesystem.pod_files(
                self.folder, {place.address: metadata["name"]}, self._node.nameserver, metadata["namespace"]
            ),
            *(Mount(source, target, read_only=True) for target, source in image.files.items()),
            *_mounts(spec, volumes),
        ]
        folder = self.folder / spec["name"]
        folder.mkdir(exist_ok=True)
        mount = root_filesystem.script(
            folder,
            sorted(mounts, key=lambda each: each.target.count("/")),
            hostname=metadata["name"],
            read_only=spec.get("securityContext", {}).get("readOnlyRootFilesystem", False),
            directory=spec.get("workingDir", "/"),
        )
        enter = ("nsenter", f"--net={place.path}", "unshare", "--mount", "--uts")
        become = identity.launcher(spec, self._pod, image)
        with started_signal() as (written, told):
            argv = (*enter, *mount, *become, *command)
            variables[STARTED] = str(told)
            process = await _spawn(argv, variables, spec["name"], self.log(spec["name"]), told)
            try:
                await written()
            except asyncio.CancelledError:
                # The pod is deleted before its program began: nobody else knows of it.
                await process.kill()
                raise
        return process

    async def _filled(self, volumes: Volumes) -> None:
        """As a kubelet, wait for what volumes show: a pod may be made before its ConfigMap."""
        while True:
            try:
                await volumes.fill()
            except (LookupError, ApiError):
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    async def _refresh(self, volumes: Volumes) -> None:
        shown = None
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            # Looking through all files each time would be a tenth of what the tests of a cluster compute themselves.
            if shown == (version := self._node.objects.version):
                continue
            with contextlib.suppress(LookupError, ApiError):
                await volumes.fill()
                shown = version

    async def _stop_all(self, grace: float) -> None:
        """End the main containers at once, and the sidecars after them, the last one first.

        Hooks of all run at the same time (Kubernetes: Sidecar Containers, pkg/kubelet/kuberuntime).
        """
        async with asyncio.TaskGroup() as stopping:
            before: list[asyncio.Task[None]] = [
                stopping.create_task(container.stop(grace, _at_once)) for container in self._main
            ]
            for container in reversed(self._init):
                before.append(stopping.create_task(container.stop(grace, _after(tuple(before)))))

    async def _tell(self) -> None:
        """Write the status as often as it changes."""
        while True:
            await self._news.wait()
            self._news.clear()
            status = pod_status(
                self._told,
                [container.status for container in self._init],
                [container.status for container in self._main],
                sidecars=frozenset(each.name for each in self._init if each.spec.get("restartPolicy") == "Always"),
                address=self.place.address if self.place else "",
                node_address=GATEWAY,
                finished=self._finished,
            )
            if status == self._told:
                continue
            try:
                await self._node.cluster.request(
                    "PATCH",
                    f"{self._path}/status",
                    body={"metadata": {"uid": self._pod["metadata"]["uid"]}, "status": status},
                    content_type="application/merge-patch+json",
                )
            except ApiError as error:
                if error.not_found or error.conflict:
                    return
                self._news.set()
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._told = status

    async def _gone(self) -> None:
        """Let the API server forget the pod, as nothing is left of it."""
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self._pod["metadata"]["uid"]}}
        while True:
            try:
                await self._node.cluster.request("DELETE", self._path, body=body)
            except ApiError as error:
                if error.not_found or error.conflict:
                    return
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return


def _mounts(container: Object, volumes: Volumes) -> list[Mount]:
    found = []
    for mount in container.get("volumeMounts", ()):
        source = Path(volumes.host_path(mount["name"]) or volumes.folder / mount["name"])
        if part := mount.get("subPath"):
            source = (source / part).resolve()
        found.append(Mount(source, mount["mountPath"], read_only=mount.get("readOnly", False)))
    return found


def _after(tasks: tuple["asyncio.Task[None]", ...]) -> Callable[[], Awaitable[None]]:
    async def turn() -> None:
        await asyncio.wait(tasks)

    return turn


async def _at_once() -> None:
    return None


async def _spawn(argv: tuple[str, ...], variables: Mapping[str, str], name: str, log: Path, *files: int) -> Process:
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=ROOT,
            env=variables,
            pass_fds=files,
            start_new_session=True,
        )
    return Process(name, process, log)
