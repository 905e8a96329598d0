"""What only the kubelet knows of a pod, as variables of the sidecar's container.

Envoy expands nothing in its configuration, but the kubelet replaces `$(NAME)` in arguments (Kubernetes API: Container,
`args`), and the whole bootstrap is one argument.
"""

from __future__ import annotations

from typing import Final

from dragoman.sidecar.injection.settings import Json

_FIELDS: Final = {
    "POD_NAME": "metadata.name",
    "POD_NAMESPACE": "metadata.namespace",
    "INSTANCE_IP": "status.podIP",
    "INSTANCE_IPS": "status.podIPs",
    "SERVICE_ACCOUNT": "spec.serviceAccountName",
    "HOST_IP": "status.hostIP",
    "ISTIO_META_NODE_NAME": "spec.nodeName",
}

POD_NAME: Final = "$(POD_NAME)"
POD_NAMESPACE: Final = "$(POD_NAMESPACE)"
INSTANCE_IP: Final = "$(INSTANCE_IP)"
INSTANCE_IPS: Final = "$(INSTANCE_IPS)"
SERVICE_ACCOUNT: Final = "$(SERVICE_ACCOUNT)"
NODE_NAME: Final = "$(ISTIO_META_NODE_NAME)"


def environment() -> list[Json]:
    """The variables, from the downward API."""
    return [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in _FIELDS.items()]


def argument(text: str) -> str:
    """`text` as an argument of which the kubelet replaces nothing but these variables."""
    escaped = text.replace("$", "$$")
    for name in _FIELDS:
        escaped = escaped.replace(f"$$({name})", f"$({name})")
    return escaped
