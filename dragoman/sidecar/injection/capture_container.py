"""The init container that captures the pod's traffic, or checks that the node's CNI plugin has (Istio: istio-init)."""

from __future__ import annotations

from typing import Final

from dragoman.mesh.proxy_id import ProxyType
from dragoman.sidecar.injection.options import PROMETHEUS_PORT, READINESS_PORT, Options
from dragoman.sidecar.injection.proxy_container import PROXY_ID, security_context
from dragoman.sidecar.injection.settings import InjectionSettings, Json

INIT: Final = "istio-init"
VALIDATION: Final = "istio-validation"


def capture_container(options: Options, settings: InjectionSettings) -> dict[str, Json] | None:
    """The container; None where nothing is captured."""
    if options.interception == "NONE":
        return None
    container: dict[str, Json] = {
        "name": VALIDATION if settings.cni else INIT,
        "image": settings.capture_image,
        "command": ["dragoman", "capture"],
        "resources": dict(options.resources),
    }
    arguments = _arguments(options, settings)
    if settings.cni:
        # The plugin reads here what to capture. As the proxy's user: its traffic is captured whatever is included.
        context = security_context(ProxyType.SIDECAR, options)
        return container | {"args": ["--verify", *arguments], "securityContext": context}
    return container | {
        "args": arguments,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": False,  # iptables of the older kind keeps a lock file
            "runAsGroup": 0,
            "runAsNonRoot": False,
            "runAsUser": 0,
        },
    }


def _arguments(options: Options, settings: InjectionSettings) -> list[str]:
    capture = options.capture
    own = [port for port in (PROMETHEUS_PORT, READINESS_PORT, options.status_port) if port]
    excluded = ",".join(filter(None, [*(str(port) for port in own), capture.exclude_inbound_ports]))
    mesh = settings.mesh
    chosen = {
        "--mode": options.interception,
        "--backend": settings.capture_backend,
        "--outbound-port": str(mesh.proxy_listen_port),
        "--inbound-port": str(mesh.proxy_inbound_listen_port),
        "--proxy-uid": str(PROXY_ID),
        "--proxy-gid": str(PROXY_ID),
        "--include-outbound-ranges": capture.include_outbound_ranges,
        "--exclude-outbound-ranges": capture.exclude_outbound_ranges,
        "--include-inbound-ports": capture.include_inbound_ports,
        "--exclude-inbound-ports": excluded,
        "--include-outbound-ports": capture.include_outbound_ports,
        "--exclude-outbound-ports": capture.exclude_outbound_ports,
        "--exclude-interfaces": capture.exclude_interfaces,
        "--reroute-interfaces": capture.reroute_interfaces,
    }
    # Both includes are written even when empty: nothing is not everything.
    always = ("--include-outbound-ranges", "--include-inbound-ports")
    return [f"{name}={value}" for name, value in chosen.items() if value or name in always]
