"""`/debug/config_dump?proxyID=`: what a proxy is served, in the shape of Envoy's own admin page (Envoy:
envoy.admin.v3.ConfigDump). Certificates are public; private keys are blotted out as Envoy does it, and the credentials
of gateways are names only.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from aiohttp import web

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, to_json
from dragoman.debug.plane import find_proxy, plane_of, views, written
from dragoman.runtime import ControlPlane
from dragoman.runtime.sessions import ProxySession
from translators.names import ROOT_CERTIFICATES, WORKLOAD_CERTIFICATE
from xds import Resource

routes = web.RouteTableDef()

_ADMIN: Final = "type.googleapis.com/envoy.admin.v3."
_REDACTED: Final = b"[redacted]"


@routes.get("/debug/config_dump")
async def config_dump(request: web.Request) -> web.Response:
    """Everything that the proxy ?proxyID=pod.namespace is served, as Envoy's own config_dump shows it."""
    plane, session = plane_of(request), find_proxy(request)
    served = {type_url: _served(plane, session, type_url) for _, _, type_url, _ in _SECTIONS}
    secrets = _secrets(plane, session)
    # A mesh of thousands of services takes a second, most of it for one resource: its routes.
    sections = await asyncio.to_thread(lambda: list(_sections(served)))
    return await written({"configs": [*sections, secrets]})


def _served(plane: ControlPlane, session: ProxySession, type_url: str) -> list[Resource]:
    return [resource for mounted in views(plane, session) for resource in mounted.view.table(type_url).values()]


def _sections(served: Mapping[str, Iterable[Resource]]) -> Iterator[dict[str, Any]]:
    for message, field, type_url, entry in _SECTIONS:
        found = sorted(served[type_url], key=lambda resource: resource.name)
        yield {"@type": _ADMIN + message, field: [entry(resource) for resource in found]}


def _field(name: str) -> Callable[[Resource], dict[str, Any]]:
    return lambda resource: {"versionInfo": resource.version, name: _any(resource)}


def _listener(resource: Resource) -> dict[str, Any]:
    return {"name": resource.name, "activeState": {"versionInfo": resource.version, "listener": _any(resource)}}


def _any(resource: Resource) -> dict[str, Any]:
    return {"@type": resource.type_url, **to_json(resource.type_url, resource.payload)}


_SECTIONS: Final[tuple[tuple[str, str, str, Callable[[Resource], dict[str, Any]]], ...]] = (
    ("ClustersConfigDump", "dynamicActiveClusters", CLUSTER, _field("cluster")),
    ("EndpointsConfigDump", "dynamicEndpointConfigs", ENDPOINT, _field("endpointConfig")),
    ("ListenersConfigDump", "dynamicListeners", LISTENER, _listener),
    ("RoutesConfigDump", "dynamicRouteConfigs", ROUTE, _field("routeConfig")),
)


def _secrets(plane: ControlPlane, session: ProxySession) -> dict[str, Any]:
    secrets: list[dict[str, Any]] = []
    if session.identity is not None:
        if session.key_folder is not None:
            chain = {"watchedDirectory": {"path": session.key_folder}}
        else:
            certificate = plane.identities.certificates.get(session.identity)
            chain = {"certificateChain": _inline(certificate.chain_pem), "privateKey": _inline(_REDACTED)}
        secrets.append(_secret(WORKLOAD_CERTIFICATE, {"tlsCertificate": chain}))
        secrets.append(_secret(ROOT_CERTIFICATES, to_json(SECRET, plane.identities.distributed.payload)))
    if session.credentials is not None:
        secrets += [_secret(name, {}) for name in plane.credentials.delivered(session.credentials)]
    return {"@type": _ADMIN + "SecretsConfigDump", "dynamicActiveSecrets": secrets}


def _secret(name: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "secret": {"@type": SECRET, "name": name, **content}}


def _inline(data: bytes) -> dict[str, str]:
    return {"inlineBytes": base64.b64encode(data).decode()}
