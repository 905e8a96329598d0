"""What the mesh of the churn is told at one moment, and the YAML that says so.

The pods of four services and of their four clients stay (or are replaced by others like them); everything here changes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

Document = Mapping[str, Any]

ANY = "any"
"""A subset of all pods of a service, whatever their version."""

REPLICA, FIRST, OTHER = "replica", "first", "other"
"""A label and its values."""

LONGEST_DELAY = 1.0
"""Seconds for which a request to the slow service may be held by its fault."""


@dataclass(frozen=True, slots=True)
class Service:
    """One server of the load; its client is the workload `client-NAME`. `versions` has one entry for each replica."""

    name: str
    port_name: str
    port: int
    versions: tuple[str, ...]

    @property
    def http(self) -> bool:
        return self.port_name != "tcp"

    @property
    def client(self) -> str:
        """The workload, and service account, of its client."""
        return f"client-{self.name}"

    def labels(self, slot: int) -> Mapping[str, str]:
        """Labels of a replica's pod, beside those of every pod."""
        return {REPLICA: OTHER if slot else FIRST}


WEB = Service("web", "http", 8080, ("v1", "v1", "v2"))
RPC = Service("rpc", "http2", 8080, ("v1", "v1"))
DB = Service("db", "tcp", 9000, ("v1", "v1"))
SLOW = Service("slow", "http", 8080, ("v1", "v1"))
SERVICES = (WEB, RPC, DB, SLOW)

GATEWAY = "gateway"
GATEWAY_PORTS: Mapping[int, int] = MappingProxyType({80: 8000, 81: 8001, 82: 8002})
"""Ports of the gateway's Service and of its pod; the first is always served."""


@dataclass(frozen=True, slots=True)
class Routing:
    """The VirtualService and DestinationRule of a service. Their subsets are new with each change: `number` is its.

    Without `splits` there is a DestinationRule only.
    """

    number: int
    splits: tuple[str, ...] = ()
    """Versions, or `ANY`, that share the traffic evenly."""
    shape: str = "weights"
    """`weights`: one route to all; `header`: the first for a header that nobody sends; `retries`: with its own."""
    balancer: str = "LEAST_REQUEST"
    connect_seconds: int = 10

    def subset(self, split: str) -> str:
        return f"{split}-{self.number}"


@dataclass(frozen=True, slots=True)
class Extra:
    """A Service that comes and goes: another name and port for the pods of `web` or of `db`, hence a listener more."""

    number: int
    port: int
    tcp: bool

    @property
    def name(self) -> str:
        return f"extra-{self.number}"

    @property
    def target(self) -> Service:
        return DB if self.tcp else WEB


@dataclass(frozen=True, slots=True)
class State:
    """Everything that changes, keyed by service name where each service has its own."""

    number: int = 0
    """Of the change that led here."""
    routing: Mapping[str, Routing] = field(default_factory=dict)
    away: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Replicas that are not ready."""
    denied: bool = False
    """Whether /denied of `web` is."""
    allowed: frozenset[str] = frozenset()
    """Services that say who may call: those who do."""
    mutual_tls: Mapping[str, str] = field(default_factory=dict)
    ingress: frozenset[str] = frozenset()
    """Services whose inbound listener Sidecar resources describe."""
    scoped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Clients whose Sidecar resource says whom they call."""
    extras: tuple[Extra, ...] = ()
    gateway_ports: tuple[int, ...] = (80,)

    def ready(self, service: Service) -> Sequence[int]:
        """Replicas that are endpoints."""
        away = self.away.get(service.name, frozenset())
        return [slot for slot in range(len(service.versions)) if slot not in away]

    def versions(self, service: Service, split: str = ANY) -> frozenset[str]:
        """Versions that answer for a subset."""
        return frozenset(v for v in (service.versions[slot] for slot in self.ready(service)) if split in (ANY, v))


def files(state: State) -> dict[str, tuple[Document, ...]]:
    """The files of a state. What belongs together is in one file: it comes, changes and goes at once."""
    found: dict[str, tuple[Document, ...]] = {"gateway": _gateway(state)}
    for service in SERVICES:
        routing = state.routing.get(service.name)
        if documents := tuple(_routing(service, routing)):
            found[f"routing-{service.name}"] = documents
        if service.name in state.allowed:
            found[f"allow-{service.name}"] = (_allow(service),)
        if service.name in state.mutual_tls:
            found[f"mutual-tls-{service.name}"] = (_mutual_tls(service, state.mutual_tls[service.name]),)
        found[f"sidecar-{service.name}"] = tuple(_sidecars(service, ingress=service.name in state.ingress))
        if service.client in state.scoped:
            found[f"scope-{service.client}"] = (_scope(service.client, state.scoped[service.client]),)
    if state.denied:
        found["deny"] = (_deny(),)
    return found


def _routing(service: Service, routing: Routing | None) -> list[Document]:
    documents = [] if routing is None else [_destination_rule(service, routing)]
    splits = routing.splits if routing is not None else ()
    if not service.http or not (splits or service is SLOW):
        return documents
    destinations: list[Document] = [{"host": service.name, "subset": routing.subset(s)} for s in splits if routing]
    destinations = destinations or [{"host": service.name}]
    shares = _shares(len(destinations))
    everyone: dict[str, Any] = {
        "route": [{"destination": d, "weight": share} for d, share in zip(destinations, shares, strict=True)]
    }
    routes = [everyone]
    if routing is not None and routing.shape == "header":
        nobody = [{"headers": {"x-nobody": {"exact": "yes"}}}]
        routes.insert(0, {"match": nobody, "route": [{"destination": destinations[-1]}]})
    if routing is not None and routing.shape == "retries":
        everyone |= {"timeout": "20s", "retries": {"attempts": 3, "perTryTimeout": "9s", "retryOn": "connect-failure"}}
    if service is SLOW:
        everyone["fault"] = {"delay": {"fixedDelay": f"{LONGEST_DELAY}s", "percentage": {"value": 50}}}
    return [
        *documents,
        _istio("networking.istio.io/v1", "VirtualService", service.name, hosts=[service.name], http=routes),
    ]


def _shares(count: int) -> list[int]:
    return [100 // count + (1 if index < 100 % count else 0) for index in range(count)]


def _destination_rule(service: Service, routing: Routing) -> Document:
    subsets = [
        {"name": routing.subset(split), "labels": {"app": service.name} | ({} if split == ANY else {"version": split})}
        for split in routing.splits
    ]
    policy = {
        "loadBalancer": {"simple": routing.balancer},
        "connectionPool": {"tcp": {"connectTimeout": f"{routing.connect_seconds}s"}},
    }
    spec: dict[str, Any] = {"host": service.name, "trafficPolicy": policy}
    return _istio(
        "networking.istio.io/v1", "DestinationRule", service.name, **spec, **({"subsets": subsets} if subsets else {})
    )


def _gateway(state: State) -> tuple[Document, ...]:
    servers = [
        {"port": {"number": port, "name": f"http-{port}", "protocol": "HTTP"}, "hosts": ["*"]}
        for port in state.gateway_ports
    ]
    route = [{"route": [{"destination": {"host": WEB.name}}]}]
    api = "networking.istio.io/v1"
    return (
        _istio(api, "Gateway", "edge", selector={"app": GATEWAY}, servers=servers),
        _istio(api, "VirtualService", "edge", hosts=["*"], gateways=["edge"], http=route),
    )


def _deny() -> Document:
    rules = [{"to": [{"operation": {"paths": ["/denied"]}}]}]
    return _istio("security.istio.io/v1", "AuthorizationPolicy", "deny", **_of(WEB), action="DENY", rules=rules)


def _allow(service: Service) -> Document:
    callers = [service.client, *([GATEWAY] if service is WEB else [])]
    rules = [{"from": [{"source": {"principals": [f"cluster.local/ns/default/sa/{name}" for name in callers]}}]}]
    name = f"allow-{service.name}"
    return _istio("security.istio.io/v1", "AuthorizationPolicy", name, **_of(service), action="ALLOW", rules=rules)


def _mutual_tls(service: Service, mode: str) -> Document:
    return _istio("security.istio.io/v1", "PeerAuthentication", service.name, **_of(service), mtls={"mode": mode})


def _sidecars(service: Service, *, ingress: bool) -> Iterator[Document]:
    """The first replica has everything of the mesh, and a Sidecar resource when that describes its listener; the others
    call nobody, and say so in one that is always there."""
    listener: dict[str, Any] = {}
    if ingress:
        port = {"number": service.port, "name": service.port_name, "protocol": service.port_name.upper()}
        listener = {"ingress": [{"port": port, "defaultEndpoint": f"127.0.0.1:{service.port}"}]}
        yield _istio("networking.istio.io/v1", "Sidecar", service.name, **_replicas(service, FIRST), **listener)
    nobody = {"egress": [{"hosts": ["~/*"]}]}
    name = f"{service.name}-{OTHER}"
    yield _istio("networking.istio.io/v1", "Sidecar", name, **_replicas(service, OTHER), **nobody, **listener)


def _replicas(service: Service, which: str) -> dict[str, Any]:
    return {"workloadSelector": {"labels": {"app": service.name, REPLICA: which}}}


def _scope(client: str, hosts: tuple[str, ...]) -> Document:
    selector = {"workloadSelector": {"labels": {"app": client}}}
    return _istio("networking.istio.io/v1", "Sidecar", client, **selector, egress=[{"hosts": list(hosts)}])


def _of(service: Service) -> dict[str, Any]:
    return {"selector": {"matchLabels": {"app": service.name}}}


def _istio(api_version: str, kind: str, name: str, **spec: object) -> Document:
    metadata = {"name": name, "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}
