"""The pods of the churn, and the hand that changes what the control plane is told of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from dragoman.mesh.proxy_id import ProxyType
from e2e.churn.changes import Change
from e2e.churn.load import Load
from e2e.churn.progress import Progress
from e2e.churn.servers import serving
from e2e.churn.state import GATEWAY, GATEWAY_PORTS, OTHER, REPLICA, SERVICES, Document, Extra, Service, State, files
from e2e.churn.verdict import Timeline
from e2e.harness import Client, Mesh, Pod, Port, mesh_settings, served_mesh
from e2e.harness.configuration import as_yaml
from e2e.harness.control_plane import ControlPlane
from e2e.harness.pods import BootstrapOf
from e2e.harness.sidecars import sidecars

Protocol = Literal["delta", "sotw"]
_Type = Mapping[str, Any]
"""What the control plane says of one type on one stream."""

DRAIN_SECONDS = 10
"""Drain time of the Envoys: short enough that many listeners come to its end under the load, long enough for the
exchanges over a TCP connection on a machine that is busy with other things."""

LEAVING_SECONDS = 3.0
"""How long a pod serves on that is an endpoint no more: what was on its way to it has ended then."""

_ACCESS_LOG = (
    "%REQ(X-CHURN)% %RESPONSE_CODE% flags=%RESPONSE_FLAGS% details=%RESPONSE_CODE_DETAILS% "
    "cluster=%UPSTREAM_CLUSTER% from=%DOWNSTREAM_REMOTE_ADDRESS% for=%DOWNSTREAM_LOCAL_ADDRESS% to=%UPSTREAM_HOST% "
    "failure=%UPSTREAM_TRANSPORT_FAILURE_REASON% end=%CONNECTION_TERMINATION_DETAILS% ms=%DURATION%\n"
)
SUBSCRIBED = frozenset(("cds", "lds", "sds"))
"""Types that every proxy of this mesh asks for; those that call somebody ask for endpoints, too."""

LONGEST_DELIVERY = 60.0
"""Seconds within which a change has to be in force at all proxies, a restart of the control plane in between."""

LOOK_SECONDS = 0.1
"""How often the control plane is asked what is in force: a page costs it as much as an endpoint that moves."""

_FLUSH = ("--file-flush-interval-msec", "200")

_MARKER = ("PeerAuthentication", "marker", "marker")
"""Kind, namespace and name of an object that concerns nobody, and whose label tells which changes are taken in."""


@dataclass
class Cast:
    """Every pod by what it is, and what the mesh was told until now."""

    mesh: Mesh
    protocol: Protocol
    gateways: BootstrapOf
    clients: dict[str, Pod] = field(default_factory=dict)
    servers: dict[tuple[str, int], Pod] = field(default_factory=dict)
    timeline: Timeline = field(default_factory=Timeline)

    def __post_init__(self) -> None:
        self._access_log = self.mesh.directory / "access" / "log"
        self._stack = contextlib.AsyncExitStack()
        self._endings: dict[tuple[str, int], contextlib.AsyncExitStack] = {}
        self._replacements: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._run = 0
        self._progress = Progress()
        self._progressed = asyncio.Condition()

    @property
    def control_plane(self) -> ControlPlane:
        assert self.mesh.control_plane is not None
        return self.mesh.control_plane

    @property
    def state(self) -> State:
        """What was told last."""
        return self.timeline.states[-1]

    @property
    def extras(self) -> Sequence[Extra]:
        """Services that come and go, of those that are told of and in force."""
        in_force = self.timeline.states[len(self.timeline.in_force) - 1]
        return [extra for extra in self.state.extras if extra in in_force.extras]

    @property
    def pods(self) -> Sequence[Pod]:
        """All pods that have an Envoy."""
        return (*self.servers.values(), *self.clients.values(), self.gateway)

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        for replacement in self._replacements.values():
            replacement.cancel()
        await asyncio.gather(*self._replacements.values(), return_exceptions=True)
        for ending in self._endings.values():
            await ending.aclose()
        await self._stack.aclose()

    async def _start(self) -> None:
        self._access_log.parent.mkdir(mode=0o777)
        self._access_log.parent.chmod(0o777)  # Envoys are not root
        settings = as_yaml({"accessLogFile": str(self._access_log), "accessLogFormat": _ACCESS_LOG})
        self.mesh.configuration.apply(mesh_settings(settings))
        self._write({}, files(State()))
        for service in SERVICES:
            await self.mesh.service(service.name, {service.port_name: service.port})
        ports = [Port(f"http-{number}", number, target) for number, target in GATEWAY_PORTS.items()]
        await self.mesh.service(GATEWAY, ports)
        async with asyncio.TaskGroup() as starting:
            for service in SERVICES:
                starting.create_task(self._start_pair(service))
        gateway = self.mesh.pod(GATEWAY, sidecar=self.gateways, captured=False)
        self.gateway = await self._stack.enter_async_context(gateway)
        self.stranger = await self._stack.enter_async_context(self.mesh.pod("stranger"))

    async def _start_pair(self, service: Service) -> None:
        for slot in range(len(service.versions)):
            await self._start_server(service, slot)
        client = self.mesh.pod(service.client, sidecar=True)
        self.clients[service.client] = await self._stack.enter_async_context(client)

    async def _start_server(self, service: Service, slot: int) -> None:
        ending = contextlib.AsyncExitStack()
        version, labels = service.versions[slot], service.labels(slot)
        made = self.mesh.pod(service.name, version=version, labels=labels, sidecar=True, wait=False)
        try:
            pod = await ending.enter_async_context(made)
            await ending.enter_async_context(serving(pod.namespace, service, version))
            await pod.envoy.ready()
            await self.mesh.set_ready(pod, True)
        except BaseException:
            await ending.aclose()
            raise
        self.servers[service.name, slot] = pod
        self._endings[service.name, slot] = ending

    def load(self) -> Load:
        """The load of these clients."""
        return Load(self.clients, self.stranger, self.gateway.address)

    # -- changes ------------------------------------------------------------------------------------------------------

    async def apply(self, change: Change) -> None:
        """Tell the control plane of a change. A pod that is replaced is so by and by."""
        for service in SERVICES:
            for slot in {*change.before.ready(service)} ^ {*change.after.ready(service)}:
                if (replacement := self._replacements.pop((service.name, slot), None)) is not None:
                    await replacement
        async with self._progressed:
            self.timeline.add(change, asyncio.get_running_loop().time())
            self._progressed.notify_all()
        self._write(files(change.before), files(change.after))
        if change.replaced is not None:
            if (earlier := self._replacements.pop((change.replaced[0].name, change.replaced[1]), None)) is not None:
                await earlier
            replacing = asyncio.create_task(self._replace(*change.replaced))
            self._replacements[change.replaced[0].name, change.replaced[1]] = replacing
        await self._move(change.before, change.after)
        kind, namespace, name = _MARKER
        self.mesh.configuration.apply(
            {
                "apiVersion": "security.istio.io/v1",
                "kind": kind,
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "labels": {"change": f"{self._run}.{change.number}"},
                },
                "spec": {},
            }
        )

    async def _move(self, before: State, after: State) -> None:
        for service in SERVICES:
            ready = after.ready(service)
            for slot in {*before.ready(service)} ^ {*ready}:
                await self.mesh.set_ready(self.servers[service.name, slot], slot in ready)
        for extra in after.extras:
            if extra not in before.extras:
                target = extra.target
                port = Port("tcp" if extra.tcp else "http", extra.port, target.port)
                await self.mesh.service(extra.name, [port], selector={"app": target.name})
        for extra in before.extras:
            if extra not in after.extras:
                await self.mesh.remove_service(extra.name)

    async def _replace(self, service: Service, slot: int) -> None:
        """As a rollout does: first the new pod, then the old one is an endpoint no more, drains, and ends."""
        old, ending = self.servers[service.name, slot], self._endings[service.name, slot]
        await self._start_server(service, slot)
        await self.leave(old)
        await ending.aclose()

    async def leave(self, pod: Pod) -> None:
        """Take a pod out of its services and let it finish what it has begun, as a preStop hook would."""
        await self.mesh.set_ready(pod, False)
        await self.mesh.forgotten(pod, self.clients[f"client-{pod.spec.labels['app']}"], self.gateway)
        await asyncio.sleep(LEAVING_SECONDS / 2)
        node = Client(self.mesh.network.node, resolve=lambda host: host)
        await node.http(f"http://{pod.address}:15020/drain")
        await asyncio.sleep(LEAVING_SECONDS / 2)

    async def replaced(self) -> None:
        """Wait until all pods that were to be replaced are."""
        while self._replacements:
            _, replacement = self._replacements.popitem()
            await replacement

    def _write(self, before: Mapping[str, Sequence[Document]], after: Mapping[str, Sequence[Document]]) -> None:
        """Files that differ are replaced as a whole, each at once."""
        folder = self.mesh.configuration.folder
        for name in before.keys() - after.keys():
            (folder / f"{name}.yaml").unlink()
        for name, documents in after.items():
            if documents != before.get(name):
                draft = folder / f"{name}.draft"
                draft.write_text(as_yaml(*documents))
                draft.replace(folder / f"{name}.yaml")

    # -- what is in force ---------------------------------------------------------------------------------------------

    async def follow(self) -> None:
        """Note in the timeline what is in force at all proxies; until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not self.timeline.underway:
                continue
            with contextlib.suppress(ConnectionError, TimeoutError):
                read = await self._read()
                quiet: dict[str, bool] = {}
                subscribed = self._subscribed()
                for proxy, types in await self._streams():
                    # One that is about to end is among the pods no more.
                    is_quiet = _all(types, subscribed.get(proxy, SUBSCRIBED), _is_quiet)
                    quiet[proxy] = is_quiet and quiet.get(proxy, True)
                in_force = self._progress.look(read, quiet, subscribed.keys())
                if in_force >= len(self.timeline.in_force):
                    async with self._progressed:
                        self.timeline.reached(in_force, asyncio.get_running_loop().time())
                        self._progressed.notify_all()

    async def told(self, number: int) -> None:
        """Wait until the control plane was told of this change."""
        async with self._progressed:
            await self._progressed.wait_for(lambda: self.state.number >= number)

    async def underway(self, most: int) -> None:
        """Wait until no more than `most` changes are on their way. Raises AssertionError when it takes too long."""
        try:
            async with asyncio.timeout(LONGEST_DELIVERY), self._progressed:
                await self._progressed.wait_for(lambda: self.timeline.underway <= most)
        except TimeoutError:
            late = self.timeline.changes[len(self.timeline.in_force)]
            streams = await self.control_plane.debug("/debug/syncz")
            raise AssertionError(f"{late} is not in force after {LONGEST_DELIVERY:.0f} s: {streams}") from None

    async def reset(self) -> None:
        """Undo all changes and number them anew; while somebody follows."""
        if self.state.number:
            await self.replaced()
            await self.apply(Change(self.state.number + 1, "reset", self.state, State(self.state.number + 1)))
            await self.underway(0)
            self.timeline = Timeline(in_force=[self.timeline.in_force[-1]], earlier=self.timeline)
            self._progress = Progress()
            self._run += 1

    async def _read(self) -> int:
        """The number of the latest change that the control plane has read."""
        kind, namespace, _ = _MARKER
        for marker in await self.control_plane.debug(f"/debug/configz?kind={kind}&namespace={namespace}"):
            run, _, number = marker["metadata"]["labels"]["change"].partition(".")
            return int(number) if int(run) == self._run else 0
        return 0

    async def in_sync(self) -> None:
        """Wait until every proxy is connected and has all it is to have, and nothing else. Raises TimeoutError."""
        async with asyncio.timeout(LONGEST_DELIVERY):
            while True:
                with contextlib.suppress(ConnectionError, TimeoutError):
                    streams, subscribed = await self._streams(), self._subscribed()
                    if len(streams) >= len(self.pods) and all(
                        _all(types, subscribed.get(proxy, SUBSCRIBED), _is_in_sync) for proxy, types in streams
                    ):
                        return
                await asyncio.sleep(LOOK_SECONDS)

    def _subscribed(self) -> Mapping[str, frozenset[str]]:
        """The types that each pod's proxy asks for."""
        return {
            f"{pod.spec.name}.{pod.spec.namespace}": SUBSCRIBED
            if pod.spec.labels.get(REPLICA) == OTHER
            else SUBSCRIBED | {"eds"}
            for pod in self.pods
        }

    async def _streams(self) -> Sequence[tuple[str, Mapping[str, _Type]]]:
        """Every stream's proxy, and the state of each type that it has subscribed."""
        return [(each["proxy"], each.get("types", {})) for each in await self.control_plane.debug("/debug/syncz")]

    def said_of(self, id_: str) -> Iterator[str]:
        """What the Envoys' access logs have on a request: by its number, or by the source port of its connection."""
        with self._access_log.open(errors="replace") as lines:
            yield from (line.rstrip()[:600] for line in lines if id_ in line)


def _all(types: Mapping[str, _Type], subscribed: frozenset[str], condition: Callable[[_Type], bool]) -> bool:
    """Whether a proxy has subscribed these types, and a condition holds for each that it has."""
    return types.keys() >= subscribed and all(map(condition, types.values()))


def _is_in_sync(kind: _Type) -> bool:
    return bool(kind["inSync"])


def _is_quiet(kind: _Type) -> bool:
    """Whether a proxy has ACKed all of a type that it is to have; what it is not to have any more may linger."""
    return _is_in_sync(kind) or (
        "lingering" in kind and "waiting" not in kind and kind["sent"] == kind["acked"] + kind["rejected"]
    )


@contextlib.asynccontextmanager
async def cast(protocol: Protocol) -> AsyncIterator[Cast]:
    """A mesh with all its pods, whose Envoys speak this variant of ADS."""
    async with served_mesh() as mesh:
        assert mesh.control_plane is not None
        socket = mesh.control_plane.socket
        mesh.sidecars = sidecars(socket, protocol=protocol)
        mesh.drain_seconds = DRAIN_SECONDS
        mesh.envoy_arguments = _FLUSH
        async with Cast(mesh, protocol, sidecars(socket, protocol=protocol, kind=ProxyType.ROUTER)) as made:
            yield made
