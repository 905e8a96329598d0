"""The bootstrap of a pod's Envoy, written before anybody knows the pod's name and address."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from crds.meshconfig import InboundTrafficPolicyMode
from dragoman.mesh.proxy_id import ProxyId, ProxyType
from dragoman.sidecar.address import SocketAddress, StaticAddresses
from dragoman.sidecar.bootstrap import Bootstrap, render
from dragoman.sidecar.injection import credentials, variables
from dragoman.sidecar.injection.options import PROMETHEUS_PORT, READINESS_PORT, Options
from dragoman.sidecar.injection.settings import InjectionSettings, Json
from dragoman.sidecar.injection.workload import Workload
from dragoman.sidecar.node import Node
from dragoman.sidecar.statistics import Statistics
from dragoman.sidecar.status_listener import (
    PROBE_STATISTICS,
    ApplicationMetrics,
    ConnectionProbe,
    Probe,
    Status,
    status_clusters,
    status_listener,
)

_LIFECYCLE_PORT: Final = 15020  # for `/quitquitquit`, where there is no status port
_LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Pod:
    """What the bootstrap says of the pod, and has to do for it."""

    kind: ProxyType
    workload: Workload
    labels: Mapping[str, str]
    ports: Iterable[Json]
    containers: Iterable[str]
    drain_path: str
    drain_delay: timedelta
    probes: tuple[Probe, ...] = ()
    metrics: ApplicationMetrics | None = None


_kept: Final[OrderedDict[tuple[str, str], tuple[InjectionSettings, str]]] = OrderedDict()
_MOST_KEPT: Final = 256
_ANY_DRAIN_PATH: Final = f"/drain/{'0' * 32}"
"""Stands for that of a pod, which no other has."""


def bootstrap_text(pod: Pod, options: Options, settings: InjectionSettings) -> str:
    """The bootstrap as JSON, ready to be an argument.

    That of the last few hundred templates is kept, as pods of one template have the same and come many at once: it is
    four fifths of the work on a pod.
    """
    template = replace(pod, drain_path=_ANY_DRAIN_PATH)
    key = (repr(template), repr(options))
    made_with, text = _kept.get(key, (None, ""))
    if made_with is not settings:
        text = _bootstrap_text(template, options, settings)
        _kept[key] = (settings, text)
        if len(_kept) > _MOST_KEPT:
            _kept.popitem(last=False)
    return text.replace(_ANY_DRAIN_PATH, pod.drain_path)


def _bootstrap_text(pod: Pod, options: Options, settings: InjectionSettings) -> str:
    status = _status(pod, options, settings) if options.status_port else None
    parameters = Bootstrap(
        node=_node(pod, options, settings),
        control_plane=credentials.control_plane(options.discovery_address),
        addresses=StaticAddresses(
            admin=SocketAddress(_LOOPBACK, options.config.proxy_admin_port),
            readiness=SocketAddress(variables.INSTANCE_IP, READINESS_PORT),
            prometheus=SocketAddress(variables.INSTANCE_IP, PROMETHEUS_PORT),
            lifecycle=SocketAddress(_LOOPBACK, options.status_port or _LIFECYCLE_PORT),
        ),
        statistics=_statistics(pod, options),
        runtime=options.config.runtime_values,
        listeners=(status_listener(status),) if status is not None else (),
        clusters=tuple(status_clusters(status)) if status is not None else (),
    )
    return variables.argument(json.dumps(render(parameters), separators=(",", ":"), sort_keys=True))


def _status(pod: Pod, options: Options, settings: InjectionSettings) -> Status:
    local = settings.mesh.inbound_traffic_policy.mode is InboundTrafficPolicyMode.LOCALHOST
    return Status(
        address=SocketAddress(variables.INSTANCE_IP, options.status_port),
        application=_LOOPBACK if local else variables.INSTANCE_IP,
        captured=not local and pod.kind is ProxyType.SIDECAR and options.interception != "NONE",
        drain_path=pod.drain_path,
        drain_delay=pod.drain_delay,
        probes=pod.probes,
        metrics=pod.metrics,
    )


def _statistics(pod: Pod, options: Options) -> Statistics:
    if not any(isinstance(probe, ConnectionProbe) for probe in pod.probes):
        return options.statistics
    return replace(options.statistics, prefixes=(*options.statistics.prefixes, PROBE_STATISTICS))


def _node(pod: Pod, options: Options, settings: InjectionSettings) -> Node:
    domain = f"{variables.POD_NAMESPACE}.svc.{settings.cluster_domain}"
    id_ = ProxyId(pod.kind, variables.INSTANCE_IP, variables.POD_NAME, variables.POD_NAMESPACE, domain)
    owner = (
        f"kubernetes://apis/{pod.workload.api_version}/namespaces/{variables.POD_NAMESPACE}"
        f"/{pod.workload.kind.lower()}s/{pod.workload.name}"
    )
    metadata: dict[str, Json] = {
        "INSTANCE_IPS": variables.INSTANCE_IPS,
        "NODE_NAME": variables.NODE_NAME,
        "OWNER": owner,
        "POD_PORTS": json.dumps(list(pod.ports), separators=(",", ":")),
        "APP_CONTAINERS": ",".join(pod.containers),
    }
    if network := pod.labels.get("topology.istio.io/network", settings.network):
        metadata["NETWORK"] = network
    for name, value in options.config.proxy_metadata.items():
        if name.startswith("ISTIO_META_"):
            metadata[name.removeprefix("ISTIO_META_")] = value
    return Node(
        id=id_,
        service_account=variables.SERVICE_ACCOUNT,
        workload=pod.workload.name,
        labels=pod.labels,
        cluster_id=settings.cluster_id,
        mesh_id=options.config.mesh_id or settings.mesh.trust_domain,
        interception_mode=options.interception if pod.kind is ProxyType.SIDECAR else "NONE",
        metadata=metadata,
    )
