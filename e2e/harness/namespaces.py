"""A node with pods, as network namespaces.

┌ node ──────────────────────┐
│ cni0 10.244.0.1            │      Nothing of it touches the network of the host: the bridge has a namespace of
└─┬───────────┬──────────────┘      its own, so any number of test runs go on at the same time.
┌─┴─────────┐ ┌┴──────────┐
│ eth0      │ │ eth0      │         A pod's address is a /32 and its only route leads through the node, so that
│ 10.244.0.2│ │ 10.244.0.3│         all traffic passes the node's routing and its address translation.
└ pod ──────┘ └ pod ──────┘
"""

import concurrent.futures
import contextlib
import ctypes
import ipaddress
import os
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from e2e.harness.commands import CommandError, run

PREFIX = "dragoman"
NETNS = Path("/run/netns")
ETC = Path("/etc/netns")

PODS = ipaddress.ip_network("10.244.0.0/24")
GATEWAY = str(next(PODS.hosts()))
GATEWAY_LINK = "02:00:0a:f4:00:01"

T = TypeVar("T")

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True, slots=True)
class Namespace:
    """One network namespace and its address."""

    name: str
    address: str

    @property
    def path(self) -> Path:
        """Where the namespace is mounted."""
        return NETNS / self.name

    def socket(
        self, kind: socket.SocketKind = socket.SOCK_STREAM, *, uid: int = 0, family: int = socket.AF_INET
    ) -> socket.socket:
        """A socket that belongs to this namespace and to user and group `uid`, usable by any thread.

        A socket stays where it was made, and the owner match of iptables sees who made it: no process in the pod is
        needed for a client in the pod.
        """

        # The calling thread's own namespace and identity, there and back: a thread for each socket would cost ten times
        # as much as the socket.
        with self.entered():
            if uid == 0:
                return socket.socket(family, kind | socket.SOCK_NONBLOCK)
            # The group first: who is no longer root may not change it. Back, the other way round.
            _LIBC.setfsgid(uid)
            _LIBC.setfsuid(uid)
            try:
                return socket.socket(family, kind | socket.SOCK_NONBLOCK)
            finally:
                _LIBC.setfsuid(0)
                _LIBC.setfsgid(0)

    def inside(self, function: Callable[[], T]) -> T:
        """The result of a function that runs in this namespace: in a thread that goes there and ends."""
        with concurrent.futures.ThreadPoolExecutor(1, initializer=self._enter) as thread:
            return thread.submit(function).result()

    def entered(self) -> contextlib.AbstractContextManager[None]:
        """This thread is here meanwhile: the sockets that it makes, and the programs and threads that it starts."""
        return entered(self.path)

    def _enter(self) -> None:
        _go_to(self.path)

    def write_sysctl(self, key: str, value: int) -> None:
        """Set a parameter below net.ipv4 in this namespace."""
        self.inside(lambda: Path("/proc/sys/net/ipv4", *key.split(".")).write_text(f"{value}\n"))

    def write_hosts(self, hosts: Mapping[str, str]) -> None:
        """What names mean to the programs in this namespace, at once also to those that run (names to addresses)."""
        # In place: a running program sees this very file through a bind mount (ip-netns(8)).
        lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in sorted(hosts.items()))]
        (ETC / self.name / "hosts").write_text("\n".join(lines) + "\n")


class Network:
    """A node and its pods; `async with` removes all of it, whatever happened inside."""

    def __init__(self) -> None:
        self._prefix = f"{PREFIX}-{os.getpid()}-{secrets.token_hex(3)}"
        self._addresses = self._free_addresses()
        self._namespaces: list[str] = []
        self._interfaces = 0
        self.node = Namespace(f"{self._prefix}-node", GATEWAY)

    async def __aenter__(self) -> Self:
        try:
            await self._add(self.node)
            await _ip(
                self.node,
                "link set lo up",
                # An address of its own: else it takes the lowest of its ports', which changes as pods come and go, and
                # pods that know the former one are cut off for seconds.
                f"link add cni0 address {GATEWAY_LINK} type bridge",
                f"addr add {GATEWAY}/{PODS.prefixlen} dev cni0",
                "link set cni0 up",
            )
            self.node.write_sysctl("ip_forward", 1)
            # Two pods share the bridge, so the kernel would tell them a shorter way, past the address translation.
            self.node.write_sysctl("conf.all.send_redirects", 0)
            self.node.write_sysctl("conf.cni0.send_redirects", 0)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in reversed(self._namespaces):
            await delete(name)
        self._namespaces.clear()

    async def add(self, name: str, *, address: str | None = None) -> Namespace:
        """A new pod's namespace, with a free address of the pod range or the given one (any: the node routes it)."""
        namespace = Namespace(f"{self._prefix}-{name}", address or str(next(self._addresses)))
        await self._add(namespace)
        self._interfaces += 1
        veth = f"veth{self._interfaces}"
        await _ip(
            self.node,
            f"link add {veth} type veth peer name eth0 netns {namespace.name}",
            f"link set {veth} master cni0 up",
            f"route replace {namespace.address}/32 dev cni0",
        )
        await _ip(
            namespace,
            "link set lo up",
            f"addr add {namespace.address}/32 dev eth0",
            "link set eth0 up",
            f"route add {GATEWAY}/32 dev eth0 scope link",
            f"route add default via {GATEWAY} src {namespace.address}",
        )
        namespace.write_sysctl("ip_unprivileged_port_start", 0)  # as container runtimes do: port 80 needs no root
        return namespace

    async def serve_services(self, range_: str, *own: str) -> None:
        """Let the node itself reach a range of service addresses, of which `own` are the node's."""
        await _ip(
            self.node,
            *(f"addr add {address}/32 dev lo" for address in own),
            f"route add {range_} dev cni0 src {GATEWAY}",
        )

    async def remove(self, namespace: Namespace) -> None:
        """Take a pod off the network. Its programs should have ended before."""
        await _ip(
            self.node,
            f"route del {namespace.address}/32 dev cni0",
            f"neigh flush to {namespace.address} dev cni0",  # the next pod with this address has another link
        )
        await delete(namespace.name)
        self._namespaces.remove(namespace.name)

    async def _add(self, namespace: Namespace) -> None:
        if namespace.name in self._namespaces:
            raise ValueError(f"a second pod {namespace.name}")
        self._namespaces.append(namespace.name)
        directory = ETC / namespace.name
        directory.mkdir(parents=True)
        namespace.write_hosts({})
        # Nobody answers there, and at once: a name that is not in hosts fails without a wait.
        (directory / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        await run("ip", "netns", "add", namespace.name)

    @staticmethod
    def _free_addresses() -> Iterator[str]:
        hosts = PODS.hosts()
        next(hosts)
        yield from map(str, hosts)


@contextlib.contextmanager
def entered(namespace: Path) -> Iterator[None]:
    """This thread is in a network namespace meanwhile."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _go_to(namespace)
        try:
            yield
        finally:
            _set(home)
    finally:
        os.close(home)


def _go_to(namespace: Path) -> None:
    away = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _set(away)
    finally:
        os.close(away)


def _set(handle: int) -> None:
    if _LIBC.setns(handle, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


async def delete(name: str) -> None:
    """Delete a namespace and what belongs to it; one that is not there is no error."""
    with contextlib.suppress(CommandError):
        await run("ip", "netns", "del", name)
    shutil.rmtree(ETC / name, ignore_errors=True)


async def delete_leftovers() -> Sequence[str]:
    """Delete the namespaces of test runs that were killed: the process id in their name is that of no process now."""
    left = _leftovers()
    for name in left:
        await delete(name)
    return left


def _leftovers() -> list[str]:
    names = {path.name for folder in (NETNS, ETC) if folder.is_dir() for path in folder.glob(f"{PREFIX}-*-*-*")}
    return sorted(name for name in names if not Path("/proc", name.split("-")[1]).exists())


async def _ip(namespace: Namespace, *commands: str) -> None:
    await run("ip", "-n", namespace.name, "-batch", "-", stdin="\n".join(commands) + "\n")
