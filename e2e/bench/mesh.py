"""The mesh that is measured: HTTP services on one port, slices of two endpoints, a VirtualService for every tenth.

Everything comes as JSON, as an API server sends it. Proxies are the pods of Deployments, whose replicas share views.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

NAMESPACES = 10
CREATED = "2026-01-01T00:00:00Z"
PORT = 80
_MOVED = 64
"""Second octet from which on an endpoint's address says which change put it there."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a mesh is. There are `accounts` Deployments of `replicas` pods in each of `proxy_namespaces`."""

    services: int
    replicas: int
    accounts: int = 1
    proxy_namespaces: int = 1

    @property
    def proxies(self) -> int:
        return self.replicas * self.accounts * self.proxy_namespaces

    @property
    def virtual_services(self) -> int:
        return self.services // 10


def objects(size: Size) -> Iterator[bytes]:
    """Every object as JSON."""
    for number in range(NAMESPACES):
        yield _json("v1", "Namespace", f"ns-{number}", "")
    for number in range(size.services):
        yield service(number)
        yield endpoints(number)
    for number in range(size.virtual_services):
        yield virtual_service(number)
    for space in range(size.proxy_namespaces):
        for account in range(size.accounts):
            labels = {"app": f"client-{account}"}
            yield _service(f"client-{account}", f"ns-{space}", f"10.111.{space}.{account + 1}", labels)
            for replica in range(size.replicas):
                yield _pod(space, account, replica)


def small(services: int, addresses: list[str], http_proxy_port: int) -> dict[str, bytes]:
    """file name → YAML of a mesh whose sidecars are on these addresses of this machine, where nothing is captured."""
    settings = f"trustDomain: cluster.local\nproxyHttpPort: {http_proxy_port}\n"
    files = {
        "mesh.yaml": [
            _json("v1", "ConfigMap", "istio", "istio-system", data={"mesh": settings}),
            *(_json("v1", "Namespace", f"ns-{number}", "") for number in range(NAMESPACES)),
            *(
                _pod(0, 0, replica, address, {"sidecar.istio.io/interceptionMode": "NONE"})
                for replica, address in enumerate(addresses)
            ),
            *(service(number) for number in range(services)),
            *(endpoints(number) for number in range(1, services)),
            *(virtual_service(number) for number in range(1, services // 10)),
        ],
        "endpoint.yaml": [endpoints(0)],
        "route.yaml": [virtual_service(0)],
    }
    return {name: b"\n---\n".join(documents) for name, documents in files.items()}


def node_ids(size: Size) -> list[str]:
    """The node id of every proxy."""
    return [
        f"sidecar~{_pod_address(space, account, replica)}~client-{account}-{replica}.ns-{space}"
        f"~ns-{space}.svc.cluster.local"
        for space in range(size.proxy_namespaces)
        for account in range(size.accounts)
        for replica in range(size.replicas)
    ]


def service(number: int) -> bytes:
    """Service number so-and-so: one HTTP port."""
    address = f"10.{96 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
    return _service(f"svc-{number:05}", _namespace(number), address, {"app": f"svc-{number:05}"})


def endpoints(number: int, change: int | None = None) -> bytes:
    """Its two endpoints; the second is where change number so-and-so moved it."""
    first, second = (
        f"10.{number >> 14}.{number >> 7 & 127}.{number & 127}",
        f"10.{number >> 14}.{128 | number >> 7 & 127}.{number & 127}",
    )
    if change is not None:
        second = f"10.{_MOVED + (change >> 16)}.{change >> 8 & 255}.{change & 255}"
    ready = {"ready": True, "serving": True, "terminating": False}
    return _json(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        f"svc-{number:05}-x",
        _namespace(number),
        labels={"kubernetes.io/service-name": f"svc-{number:05}"},
        addressType="IPv4",
        endpoints=[{"addresses": [address], "conditions": ready} for address in (first, second)],
        ports=[{"name": "http", "port": 8080, "protocol": "TCP"}],
    )


def authorization_policy(number: int, account: int) -> bytes:
    """Policy number so-and-so, for the proxies of one account of the first namespace."""
    source = {"principals": [f"cluster.local/ns/ns-0/sa/account-{number % 50}"], "namespaces": ["ns-0", "ns-1"]}
    operation = {"methods": ["GET", "POST"], "paths": [f"/api-{number}/*"], "ports": ["8080"]}
    return _json(
        "security.istio.io/v1",
        "AuthorizationPolicy",
        f"policy-{number:04}",
        "ns-0",
        spec={
            "selector": {"matchLabels": {"app": f"client-{account}"}},
            "action": "DENY" if number % 2 else "ALLOW",
            "rules": [{"from": [{"source": source}], "to": [{"operation": operation}]}],
        },
    )


def change_of(address: str) -> int | None:
    """Which change an endpoint's address comes from; None for one that never moved."""
    _, high, middle, low = map(int, address.split("."))
    return (high - _MOVED) << 16 | middle << 8 | low if high >= _MOVED else None


def passing_service(number: int) -> tuple[bytes, bytes]:
    """A service beside the numbered ones, and its endpoints: one that comes and goes."""
    name, space = f"extra-{number:06}", _namespace(number)
    address = f"10.112.{number >> 8 & 255}.{number & 255}"
    slice_ = _json(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        f"{name}-x",
        space,
        labels={"kubernetes.io/service-name": name},
        addressType="IPv4",
        endpoints=[{"addresses": [address], "conditions": {"ready": True}}],
        ports=[{"name": "http", "port": 8080, "protocol": "TCP"}],
    )
    return _service(name, space, address, {"app": name}), slice_


def virtual_service(number: int, weight: int = 90) -> bytes:
    """A canary by header and by weight, with timeout and retries."""
    name, other = f"svc-{number:05}", f"svc-{number + 1:05}.{_namespace(number + 1)}.svc.cluster.local"
    own = f"{name}.{_namespace(number)}.svc.cluster.local"
    return _json(
        "networking.istio.io/v1",
        "VirtualService",
        name,
        _namespace(number),
        spec={
            "hosts": [own],
            "http": [
                {
                    "name": "canary",
                    "match": [{"headers": {"x-canary": {"exact": "yes"}}, "uri": {"prefix": "/api"}}],
                    "route": [{"destination": {"host": other}}],
                },
                {
                    "name": "split",
                    "route": [
                        {"destination": {"host": own}, "weight": weight},
                        {"destination": {"host": other}, "weight": 100 - weight},
                    ],
                    "timeout": "5s",
                    "retries": {"attempts": 3, "perTryTimeout": "2s", "retryOn": "5xx"},
                },
            ],
        },
    )


def _namespace(number: int) -> str:
    return f"ns-{number % NAMESPACES}"


def _service(name: str, namespace: str, address: str, selector: dict[str, str]) -> bytes:
    return _json(
        "v1",
        "Service",
        name,
        namespace,
        spec={
            "clusterIP": address,
            "clusterIPs": [address],
            "ports": [{"name": "http", "port": PORT, "targetPort": 8080, "protocol": "TCP"}],
            "selector": selector,
        },
    )


def _pod_address(space: int, account: int, replica: int) -> str:
    number = (space * 256 + account) * 1024 + replica
    return f"10.{200 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def _pod(space: int, account: int, replica: int, address: str = "", annotations: dict[str, str] | None = None) -> bytes:
    address = address or _pod_address(space, account, replica)
    return _json(
        "v1",
        "Pod",
        f"client-{account}-{replica}",
        f"ns-{space}",
        labels={"app": f"client-{account}", "security.istio.io/tlsMode": "istio"},
        metadata={
            "annotations": annotations or {},
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"client-{account}-5d8f7c", "controller": True}
            ],
        },
        spec={
            "serviceAccountName": f"account-{account}",
            "containers": [{"name": "app", "ports": [{"name": "http", "containerPort": 8080}]}],
        },
        status={
            "podIP": address,
            "podIPs": [{"ip": address}],
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    )


def _json(
    api_version: str,
    kind: str,
    name: str,
    namespace: str,
    *,
    labels: dict[str, str] | None = None,
    metadata: dict[str, Any] | None = None,
    **fields: Any,
) -> bytes:
    meta: dict[str, Any] = {"name": name, "creationTimestamp": CREATED, **(metadata or {})}
    if namespace:
        meta["namespace"] = namespace
    if labels:
        meta["labels"] = labels
    return json.dumps({"apiVersion": api_version, "kind": kind, "metadata": meta, **fields}).encode()
