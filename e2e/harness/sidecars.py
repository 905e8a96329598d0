"""The bootstrap that a pod's Envoy gets from the product, as injection would give it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from dragoman.mesh.proxy_id import ProxyId, ProxyType
from dragoman.sidecar import Bootstrap, ControlPlane, Node, SocketAddress, StaticAddresses, UnixSocket, render
from e2e.harness.capture import PROXY_ID
from e2e.harness.manifests import DOMAIN, PodSpec
from e2e.harness.pods import BootstrapOf

ANYWHERE = "0.0.0.0"  # noqa: S104  the pod's own addresses, where the kubelet and Prometheus come from outside


def sidecars(
    xds_socket: Path, *, protocol: Literal["delta", "sotw"] = "delta", kind: ProxyType = ProxyType.SIDECAR
) -> BootstrapOf:
    """Sidecars, or gateways, of the control plane at a UNIX socket, which is a path and so within reach of every
    namespace.

    Envoy is user 1337 and has to be allowed to connect: `allow_envoys`.
    """

    def bootstrap(spec: PodSpec) -> Mapping[str, Any]:
        address = f"{spec.name}.{spec.namespace}~{spec.namespace}.svc.{DOMAIN}"
        node = Node(
            ProxyId.parse(f"{kind}~{spec.address}~{address}"),
            service_account=spec.service_account,
            workload=f"{spec.labels['app']}-{spec.labels['version']}",
            labels=spec.labels,
        )
        return render(
            Bootstrap(
                node=node,
                control_plane=ControlPlane(UnixSocket(str(xds_socket))),
                addresses=StaticAddresses(
                    admin=SocketAddress("127.0.0.1", 15000),
                    readiness=SocketAddress(ANYWHERE, 15021),
                    prometheus=SocketAddress(ANYWHERE, 15090),
                    lifecycle=SocketAddress(ANYWHERE, 15020),
                ),
                protocol=protocol,
            )
        )

    return bootstrap


def allow_envoys(xds_socket: Path) -> None:
    """Give the control plane's socket, which only its owner may use as keys pass through it, to Envoy's user.

    The control plane is root here and uses it all the same.
    """
    os.chown(xds_socket, PROXY_ID, PROXY_ID)
    xds_socket.chmod(0o660)  # those that are root for TPROXY are of its group
