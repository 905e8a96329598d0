"""The node's service addresses, and its DNS: what kube-proxy and CoreDNS do, from the API server's objects."""

import asyncio
import contextlib
import ipaddress
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from e2e.harness.commands import run
from e2e.harness.kubelet.watching import Object, Watched
from e2e.harness.namespaces import Namespace

DOMAIN = "cluster.local"
_SERVICE_OF_SLICE = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a Service."""

    address: str
    hostname: str | None
    ready: bool
    serving: bool


class ServiceAddresses:
    """The Services of a cluster, kept in force on a node by `run`, and found by name."""

    def __init__(self, services: Watched, slices: Watched, node: Namespace) -> None:
        self._services = services
        self._slices = slices
        self._node = node
        self._changed = asyncio.Event()
        self._names: Mapping[str, tuple[str, ...]] = {}
        for watched in (services, slices):
            watched.listen(lambda item, gone: self._changed.set())

    async def run(self) -> None:
        """Follow the API server until cancelled."""
        former = ""
        while True:
            self._changed.clear()
            self._names = dict(self._records())
            rules = self.rules()
            if rules != former:
                await run("ip", "netns", "exec", self._node.name, "iptables-restore", "--wait", stdin=rules)
                former = rules
            await self._changed.wait()

    def addresses(self, name: str) -> tuple[str, ...] | None:
        """The addresses of a whole name (A records); None for one that does not exist."""
        return self._names.get(name.rstrip(".").lower())

    def alias(self, name: str) -> str | None:
        """What a Service of the type ExternalName stands for (its CNAME record)."""
        for service in self._services.objects:
            if _name(service) == name.rstrip(".").lower():
                external: str | None = service["spec"].get("externalName")
                return external
        return None

    def resolve(self, name: str, namespace: str) -> str:
        """An address of a name as a pod of a namespace asks for it; one stands for itself. Raises ConnectionError."""
        with contextlib.suppress(ValueError):
            return str(ipaddress.ip_address(name))
        for suffix in ("", f".{namespace}.svc.{DOMAIN}", f".svc.{DOMAIN}", f".{DOMAIN}"):
            if found := self.addresses(name + suffix):
                return found[0]
        raise ConnectionError(f"no such host: {name}")

    def rules(self) -> str:
        """Address translation from services to pods, in turns, as input of iptables-restore(8)."""
        lines = ["*nat", ":PREROUTING ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]", ":SERVICES - [0:0]"]
        lines += ["-A PREROUTING -j SERVICES", "-A OUTPUT -j SERVICES"]
        for service in self._services.objects:
            spec = service["spec"]
            address = spec.get("clusterIP", "None")
            if spec["type"] == "ExternalName" or address == "None":
                continue
            for port in spec["ports"]:
                targets = self._targets(service, port.get("name", ""))
                for left, target in zip(range(len(targets), 0, -1), targets, strict=True):
                    # Of every `left` connections that reach this rule it takes one: all rules take equally many.
                    lines.append(
                        f"-A SERVICES -d {address}/32 -p {port['protocol'].lower()} --dport {port['port']}"
                        f" -m statistic --mode nth --every {left} --packet 0 -j DNAT --to-destination {target}"
                    )
        # A pod that calls itself by its service would answer itself past the translation.
        hairpins = sorted(
            f"-A POSTROUTING -m conntrack --ctstate DNAT -s {address}/32 -d {address}/32 -j MASQUERADE"
            for address in self._pods()
        )
        return "\n".join((*lines, ":POSTROUTING ACCEPT [0:0]", *hairpins, "COMMIT", ""))

    def _targets(self, service: Object, port_name: str) -> list[str]:
        """The addresses with ports that a port leads to: those that are ready, else those that still serve."""
        found: list[tuple[Endpoint, int]] = []
        for each in self._slices_of(service):
            ports = [port["port"] for port in each.get("ports") or () if port.get("name", "") == port_name]
            found += itertools.product(_endpoints(each), ports)
        ready = [pair for pair in found if pair[0].ready] or [pair for pair in found if pair[0].serving]
        return sorted(f"{endpoint.address}:{number}" for endpoint, number in ready)

    def _records(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        for service in self._services.objects:
            spec = service["spec"]
            if spec["type"] == "ExternalName":
                continue
            if spec.get("clusterIP", "None") != "None":
                yield _name(service), (spec["clusterIP"],)
                continue
            unready = spec.get("publishNotReadyAddresses", False)
            found = [each for part in self._slices_of(service) for each in _endpoints(part) if each.ready or unready]
            yield _name(service), tuple(sorted(each.address for each in found))
            for each in found:
                if each.hostname:
                    yield f"{each.hostname}.{_name(service)}", (each.address,)

    def _slices_of(self, service: Object) -> list[Object]:
        metadata = service["metadata"]
        return [
            each
            for each in self._slices.objects
            if each["metadata"]["namespace"] == metadata["namespace"]
            and each["metadata"].get("labels", {}).get(_SERVICE_OF_SLICE) == metadata["name"]
            and each["addressType"] == "IPv4"
        ]

    def _pods(self) -> set[str]:
        return {endpoint.address for each in self._slices.objects for endpoint in _endpoints(each)}


def _endpoints(part: Object) -> list[Endpoint]:
    found = []
    for endpoint in part.get("endpoints") or ():
        conditions = endpoint.get("conditions", {})
        ready = conditions.get("ready") is not False
        serving = conditions.get("serving", ready)
        found += [Endpoint(address, endpoint.get("hostname"), ready, serving) for address in endpoint["addresses"]]
    return found


def _name(service: Object) -> str:
    return f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc.{DOMAIN}"
