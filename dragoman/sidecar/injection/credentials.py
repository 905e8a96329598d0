"""What lets a pod's Envoy reach the control plane: token, root, and the two small files that name them for Envoy.

Envoy follows a file that changes only if a secret says so that itself comes from a file (Envoy: SDS,
"path_config_source"). Those two are the same in every pod: annotations that the downward API shows as files, so
that no namespace needs an object of ours for them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from dragoman.sidecar.address import SocketAddress, parse_address
from dragoman.sidecar.control_plane import ControlPlane, Tls, Token, root_secret, token_secret
from dragoman.sidecar.injection.settings import InjectionSettings, Json

_POD_INFO: Final = "/etc/istio/pod"
_TOKENS: Final = "/var/run/secrets/tokens"
_ROOTS: Final = "/var/run/secrets/istio"
_TOKEN_SECONDS: Final = 43200
_FILES: Final = {
    "control-plane-token.json": "sidecar.dragoman.io/control-plane-token",
    "control-plane-root.json": "sidecar.dragoman.io/control-plane-root",
}
_TOKEN_FILE, _ROOT_FILE = _FILES


def control_plane(address: str) -> ControlPlane:
    """The control plane at `host:port`, by whose name in DNS it is known."""
    parsed = parse_address(address)
    assert isinstance(parsed, SocketAddress)  # noqa: S101 - values.address
    tls = Tls(f"{_ROOTS}/root-cert.pem", parsed.host, f"{_POD_INFO}/{_ROOT_FILE}")
    return ControlPlane(parsed, tls, Token(f"{_TOKENS}/istio-token", f"{_POD_INFO}/{_TOKEN_FILE}"))


def as_annotations(plane: ControlPlane) -> Mapping[str, str]:
    """The annotations that become the files."""
    assert plane.tls is not None and plane.token is not None  # noqa: S101, PT018 - see control_plane
    contents = {_TOKEN_FILE: token_secret(plane.token), _ROOT_FILE: root_secret(plane.tls)}
    return {_FILES[file]: json.dumps(content, separators=(",", ":")) for file, content in contents.items()}


def volumes(settings: InjectionSettings) -> list[Json]:
    """Token, roots and the pod's own metadata, under Istio's names."""
    shown = {"labels": "metadata.labels", "annotations": "metadata.annotations"}
    shown |= {file: f"metadata.annotations['{annotation}']" for file, annotation in _FILES.items()}
    token = {"audience": settings.token_audience, "expirationSeconds": _TOKEN_SECONDS, "path": "istio-token"}
    return [
        {
            "name": "istio-podinfo",
            "downwardAPI": {
                "items": [{"path": file, "fieldRef": {"fieldPath": field}} for file, field in shown.items()]
            },
        },
        {"name": "istio-token", "projected": {"sources": [{"serviceAccountToken": token}]}},
        {"name": "istiod-ca-cert", "configMap": {"name": settings.root_certificate}},
    ]


def mounts() -> list[Json]:
    """Where the sidecar has them."""
    places = {"istio-podinfo": _POD_INFO, "istio-token": _TOKENS, "istiod-ca-cert": _ROOTS}
    return [{"name": name, "mountPath": place, "readOnly": True} for name, place in places.items()]
