"""A cluster of one node, in which tests read like prose.

async with Mesh.running() as mesh:
    await mesh.service("server", {"http": 8080})
    async with mesh.pod("server", app=EchoApp(http=(8080,)), sidecar=True), mesh.pod("client") as client:
        answer = await client.http("http://server:8080/")
        assert answer.echo.workload == "server"
"""

import asyncio
import collections
import contextlib
import ipaddress
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, Self

from dragoman.capture.settings import Mode
from dragoman.capture.system import Backend
from e2e.harness import apps, manifests, service_proxy
from e2e.harness.apps import App
from e2e.harness.capture import capture
from e2e.harness.configuration import Configuration
from e2e.harness.control_plane import ControlPlane
from e2e.harness.envoys import Envoy
from e2e.harness.eventually import eventually
from e2e.harness.ipv6 import add_address
from e2e.harness.manifests import PodSpec, Port, ServiceSpec
from e2e.harness.namespaces import Network
from e2e.harness.pods import BootstrapOf, Pod

SERVICES = ipaddress.ip_network("10.96.0.0/16")


class Mesh:
    """Pods, services and the YAML that tells of them (`configuration`, for a control plane to watch).

    `sidecars` makes the bootstrap of a pod that asks for `sidecar=True`; `drain_seconds` is the drain time of the
    Envoys of pods to come, `envoy_arguments` are further words of their command lines, and `capture_backend` is which
    of the kernel's tools captures their traffic.
    """

    def __init__(self, network: Network, directory: Path, sidecars: BootstrapOf | None = None) -> None:
        self.network = network
        self.directory = directory
        self.sidecars = sidecars
        self.control_plane: ControlPlane | None = None
        self.drain_seconds = 45
        self.envoy_arguments: tuple[str, ...] = ()
        self.capture_backend: Backend = "iptables"
        folder = directory / "configuration"
        folder.mkdir()
        self.configuration = Configuration(folder)
        self._cluster_addresses = map(str, SERVICES.hosts())
        self._services: dict[tuple[str, str], ServiceSpec] = {}
        self._pods: dict[str, Pod] = {}
        self._hosts_beyond: dict[str, str] = {}
        self._all_pods: list[Pod] = []
        self._replicas: collections.Counter[str] = collections.Counter()
        self._namespaces: set[str] = set()
        self._known_hosts: dict[str, dict[str, str]] = {}
        """What `_hosts` has found of a namespace since pods and services changed last."""
        self._told_hosts: dict[str, dict[str, str]] = {}
        """What a pod's name file says."""
        self._service_rules = self._service_rules_in_force = ""
        self._programming = asyncio.Lock()
        self._markers = 0
        self._published: Mapping[Path, object] = {}
        """The state of the folder of which all is published, as far as that was waited for."""

    async def settled(self, seconds: float = 60) -> None:
        """Wait until all that is in the folder, pods and services too, and nothing else is in force, and every pod's
        Envoy is connected and has ACKed all.

        A test that looks for what its own policy does would else find what the one before it did, not yet undone.
        """
        if self.control_plane is None:
            return
        async with asyncio.timeout(seconds):
            await self._publish(self.control_plane)
            while not await self._is_settled(self.control_plane):  # noqa: ASYNC110 - the state of another process
                await asyncio.sleep(0.02)

    async def _publish(self, control_plane: ControlPlane) -> None:
        """Wait until all that is in the folder has been read and handed to the streams.

        The control plane reads what is written in the order of writing, and one lot after the other: who has read the
        second marker has published what was written before the first.
        """
        state = self.configuration.state(besides=manifests.marker(0))
        if state == self._published:
            return
        for _ in range(2):
            self._markers += 1
            self.configuration.apply(manifests.marker(self._markers))
            while not await self._is_marker_read(control_plane):  # noqa: ASYNC110 - the state of another process
                await asyncio.sleep(0.01)
        self._published = state

    async def _is_marker_read(self, control_plane: ControlPlane) -> bool:
        marker = manifests.marker(self._markers)
        kind, metadata = marker["kind"], marker["metadata"]
        page = await control_plane.debug(f"/debug/configz?kind={kind}&namespace={metadata['namespace']}")
        return any(each["metadata"].get("labels") == metadata["labels"] for each in page)

    async def _is_settled(self, control_plane: ControlPlane) -> bool:
        # Once could be the moment before the first of several responses.
        return await self._seems_settled(control_plane) and await self._seems_settled(control_plane)

    async def _seems_settled(self, control_plane: ControlPlane) -> bool:
        in_force = {
            (each["kind"], each["metadata"]["namespace"], each["metadata"]["name"])
            for each in await control_plane.debug("/debug/configz")
        }
        if in_force != self.configuration.policies():
            return False
        streams = await control_plane.debug("/debug/syncz")
        connected = {stream["proxy"] for stream in streams if stream.get("types", {}).keys() >= {"cds", "lds"}}
        running = {f"{pod.spec.name}.{pod.spec.namespace}" for pod in self._pods.values() if pod.runs_envoy}
        return running <= connected and all(
            kind["inSync"] for stream in streams for kind in stream.get("types", {}).values()
        )

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, sidecars: BootstrapOf | None = None) -> AsyncIterator[Self]:
        """An empty cluster, all of which is gone at the end."""
        with _open_directory() as directory:
            async with Network() as network:
                yield cls(network, directory, sidecars)

    async def service(
        self,
        name: str,
        ports: Mapping[str, int] | Sequence[Port],
        *,
        namespace: str = "default",
        headless: bool = False,
        selector: Mapping[str, str] | None = None,
    ) -> ServiceSpec:
        """A Service over the pods labelled `app: name` (or by another selector); ports are numbers by name, or whole.

        Istio reads the protocol from a port's name: `http`, `http2-api`, `grpc`, `tcp-db`; any other is detected.
        """
        whole = ports if not isinstance(ports, Mapping) else [Port(key, number) for key, number in ports.items()]
        address = None if headless else next(self._cluster_addresses)
        spec = ServiceSpec(name, namespace, address, tuple(whole), selector or {"app": name})
        self._add_namespace(namespace)
        self._services[namespace, name] = spec
        self.configuration.apply(manifests.service(spec))
        await self._endpoints_changed()
        return spec

    async def remove_service(self, name: str, *, namespace: str = "default") -> None:
        """Delete a Service, and its EndpointSlice as Kubernetes would."""
        del self._services[namespace, name]
        self.configuration.delete("Service", name, namespace)
        self.configuration.delete("EndpointSlice", f"{name}-slice", namespace)
        await self._endpoints_changed()

    @contextlib.asynccontextmanager
    async def pod(
        self,
        name: str,
        *,
        app: App | None = None,
        sidecar: bool | BootstrapOf = False,
        captured: bool = True,
        version: str = "v1",
        namespace: str = "default",
        service_account: str | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        ipv6: Literal["also", "only"] | None = None,
        wait: bool = True,
    ) -> AsyncIterator[Pod]:
        """A pod of the workload `name`, running and ready; at the end of the block it is deleted as Kubernetes would.

        `sidecar=True` captures its traffic with an Envoy that has the mesh's bootstrap; a function makes another one,
        and with `captured=False` the traffic passes by the Envoy, as in a gateway's pod.
        The service account is named like the workload unless given. Without `wait` the Envoy need not be ready, and
        the pod is no endpoint. `ipv6` gives it an address of IPv6, beside that of IPv4 or instead of it.
        """
        bootstrap = self._bootstrap_of(sidecar)
        self._replicas[f"{name}-{version}"] += 1
        pod_name = f"{name}-{version}-{self._replicas[f'{name}-{version}']}"
        async with contextlib.AsyncExitStack() as stack:
            place = await self.network.add(f"{namespace}-{pod_name}")
            stack.push_async_callback(self.network.remove, place)
            address, more = place.address, tuple[str, ...]()
            if ipv6 == "also":
                more = (await add_address(place),)
            elif ipv6 == "only":
                address = await add_address(place, instead=True)
            spec = PodSpec(
                pod_name,
                namespace,
                address,
                service_account or name,
                {"app": name, "version": version, **(_INJECTED if bootstrap else {}), **(labels or {})},
                ready=False,
                annotations=annotations or {},
                more_addresses=more,
            )
            pod = Pod(spec, place, self._resolver(namespace))
            self._all_pods.append(pod)
            self._add_namespace(namespace)
            await self._add(pod)
            stack.push_async_callback(self._remove, pod)
            if bootstrap is not None:
                transparent = (annotations or {}).get("sidecar.istio.io/interceptionMode") == "TPROXY"
                if captured:
                    mode: Mode = "TPROXY" if transparent else "REDIRECT"
                    await capture(place, ipv6=ipv6 is not None, mode=mode, backend=self.capture_backend)
                pod.sidecar = Envoy(
                    pod_name,
                    pod,
                    bootstrap(spec),
                    self.directory,
                    arguments=self.envoy_arguments,
                    drain_seconds=self.drain_seconds,
                    transparent=transparent,
                )
                await stack.enter_async_context(pod.sidecar)
            if app is not None:
                await self._start(app, pod, stack)
            if wait:
                if pod.sidecar is not None:
                    await pod.sidecar.ready()
                await self.set_ready(pod, True)
            try:
                yield pod
            finally:
                # Kubernetes takes a pod out of its services first, then ends its programs.
                await self._remove(pod)

    @contextlib.asynccontextmanager
    async def host(self, name: str, address: str, *, app: App) -> AsyncIterator[Pod]:
        """A host beyond the cluster, with a name that all resolve and an address that is no pod's (192.0.2.0/24)."""
        async with contextlib.AsyncExitStack() as stack:
            place = await self.network.add(name, address=address)
            stack.push_async_callback(self.network.remove, place)
            spec = PodSpec(name, "", address, "", {"app": name, "version": "v1"})
            pod = Pod(spec, place, self._resolver(""))
            self._all_pods.append(pod)
            await self._start(app, pod, stack)
            self._hosts_beyond[name] = address
            await self._endpoints_changed()
            try:
                yield pod
            finally:
                del self._hosts_beyond[name]
                await self._endpoints_changed()

    async def set_ready(self, pod: Pod, ready: bool) -> None:
        """Make a pod an endpoint of its services, or none, as its readiness probe would. Its programs run on."""
        pod.spec = replace(pod.spec, ready=ready)
        await self._add(pod)

    async def withdraw(self, pod: Pod) -> None:
        """Take a pod out of its services for good, and wait until no Envoy sends to it any more. Its programs run on.

        What a pod does that ends with grace: Kubernetes tells of it at once, and its `preStop` gives everybody time.
        """
        await self._remove(pod)
        await self.forgotten(pod, *self._pods.values())

    async def forgotten(self, pod: Pod, *clients: Pod) -> None:
        """Wait until no Envoy of these clients sends to a pod any more that is no endpoint now."""
        for client in [each.sidecar for each in clients if each.sidecar is not None]:
            await eventually(partial(client.admin, "/clusters"), lambda a: f"::{pod.address}:" not in a.text, steady=0)

    def logs(self) -> Mapping[str, str]:
        """The ends of the logs of all programs there were, by the name of the program."""
        logs = {name: text for pod in self._all_pods for name, text in pod.logs().items()}
        return {**logs, "control plane": self.control_plane.tail()} if self.control_plane else logs

    def _bootstrap_of(self, sidecar: bool | BootstrapOf) -> BootstrapOf | None:
        if sidecar is True:
            if self.sidecars is None:
                raise ValueError(
                    "this mesh knows no bootstrap for sidecar=True: give it `sidecars`, or the pod its own"
                )
            return self.sidecars
        return sidecar or None

    async def _start(self, app: App, pod: Pod, stack: contextlib.AsyncExitStack) -> None:
        log = self.directory / f"{pod.spec.name}.application.log"
        labels = pod.spec.labels
        pod.application = await apps.start(app, pod.namespace, labels["app"], labels["version"], log)
        stack.push_async_callback(pod.application.stop)

    async def _add(self, pod: Pod) -> None:
        self._pods[pod.spec.name] = pod
        self.configuration.apply(manifests.pod(pod.spec))
        await self._endpoints_changed()

    async def _remove(self, pod: Pod) -> None:
        if self._pods.pop(pod.spec.name, None) is not None:
            self.configuration.delete("Pod", pod.spec.name, pod.spec.namespace)
            await self._endpoints_changed()

    def _add_namespace(self, name: str) -> None:
        if name not in self._namespaces:
            self._namespaces.add(name)
            self.configuration.apply(manifests.namespace(name))

    async def _endpoints_changed(self) -> None:
        """Tell the control plane, the node and the pods' name files what is where now."""
        self._known_hosts.clear()
        endpoints = {
            service: [pod.spec for pod in self._pods.values() if service.selects(pod.spec)]
            for service in self._services.values()
        }
        for service, pods in endpoints.items():
            self.configuration.apply(manifests.endpoint_slice(service, pods))
        for pod in self._pods.values():
            hosts = self._hosts(pod.spec.namespace)
            if self._told_hosts.get(pod.namespace.name) != hosts:
                self._told_hosts[pod.namespace.name] = hosts
                pod.namespace.write_hosts(hosts)
        self._service_rules = service_proxy.rules(endpoints)
        async with self._programming:
            if self._service_rules != self._service_rules_in_force:
                self._service_rules_in_force = self._service_rules
                await service_proxy.program(self.network.node, self._service_rules)

    def _hosts(self, namespace: str) -> dict[str, str]:
        hosts = self._known_hosts.get(namespace)
        if hosts is None:
            hosts = self._known_hosts[namespace] = self._hosts_now(namespace)
        return hosts

    def _hosts_now(self, namespace: str) -> dict[str, str]:
        hosts = dict(self._hosts_beyond)
        for service in self._services.values():
            ready = (pod.address for pod in self._pods.values() if pod.spec.ready and service.selects(pod.spec))
            address = service.address or next(ready, None)
            if address is not None:
                hosts |= dict.fromkeys(service.names, address)
                if service.namespace == namespace:
                    hosts[service.name] = address
        return hosts

    def _resolver(self, namespace: str) -> Callable[[str], str]:
        def resolve(name: str) -> str:
            with contextlib.suppress(ValueError):
                return str(ipaddress.ip_address(name))
            try:
                return self._hosts(namespace)[name]
            except KeyError:
                raise ConnectionError(f"no such host: {name}") from None

        return resolve


@contextlib.contextmanager
def _open_directory() -> Iterator[Path]:
    """A temporary folder that every user may enter, as Envoy and the applications are not root."""
    with tempfile.TemporaryDirectory(prefix="dragoman-e2e-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


_INJECTED: Mapping[str, str] = {"security.istio.io/tlsMode": "istio"}
"""What injection adds to a pod's labels: that it speaks mutual TLS (Istio: pkg/kube/inject)."""
