"""Pages about streams: what every proxy was sent and has accepted.

Shapes are Istio's where it has the page (Istio: pilot/pkg/xds/debug.go: SyncStatus, AdsClients).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from dragoman.codec import CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, ROUTE
from dragoman.debug.plane import by_node, page, plane_of, without_empty
from dragoman.runtime import ControlPlane
from dragoman.runtime.observer import discovery_service
from dragoman.runtime.sessions import ProxySession
from xds import ConnectionStatus, TypeStatus

routes = web.RouteTableDef()

CLUSTER_ID: Final = "Kubernetes"

_SYNCZ_NAMES: Final = {
    CLUSTER: "cluster",
    LISTENER: "listener",
    ROUTE: "route",
    ENDPOINT: "endpoint",
    EXTENSION_CONFIG: "extensionconfig",
}


@routes.get("/debug/syncz")
async def syncz(request: web.Request) -> web.Response:
    """What every proxy was sent and has accepted, as nonces; `types` says of each type if it is in sync, or why not."""
    plane = plane_of(request)
    sessions = by_node(plane)
    return page([_sync_status(status, sessions.get(status.node)) for status in _connections(plane)])


@routes.get("/debug/adsz")
async def adsz(request: web.Request) -> web.Response:
    """Connected proxies with their labels, metadata and subscriptions."""
    plane = plane_of(request)
    sessions = by_node(plane)
    clients = [_client(status) | _introduction(status, sessions.get(status.node)) for status in _connections(plane)]
    return page({"totalClients": len(clients), "clients": clients})


@routes.get("/debug/connections")
async def connections(request: web.Request) -> web.Response:
    """Connected proxies: since when, and from where."""
    clients = [_client(status) for status in _connections(plane_of(request))]
    return page({"totalClients": len(clients), "clients": clients})


@routes.get("/debug/nackz")
async def nackz(request: web.Request) -> web.Response:
    """What proxies rejected: the latest rejections with Envoy's words, and what is held back because of one."""
    plane = plane_of(request)
    return page(
        {
            "rejections": [
                {
                    "time": nack.at.isoformat(),
                    "proxy": nack.proxy,
                    "type": discovery_service(nack.type_url),
                    "message": nack.message,
                    "resources": [
                        {"name": name, "madeFrom": [str(key) for key in origins]}
                        for name, origins in zip(nack.names, nack.origins, strict=True)
                    ],
                }
                for nack in reversed(plane.observer.nacks)
            ],
            "heldBack": [
                {
                    "view": mounted.view.name,
                    "type": discovery_service(type_url),
                    "name": name,
                    "because": blocked.reason.message
                    if not isinstance(blocked.reason, tuple)
                    else f"it needs {discovery_service(blocked.reason[0])} {blocked.reason[1]!r}, which is held back",
                    "servedInstead": blocked.good.version if blocked.good is not None else None,
                }
                for mounted in plane.mounted
                for (type_url, name), blocked in sorted(mounted.view.blocked().items())
            ],
        }
    )


def _connections(plane: ControlPlane) -> list[ConnectionStatus]:
    return sorted(plane.server.connections(), key=lambda status: (status.proxy, status.connected_at))


def _sync_status(status: ConnectionStatus, session: ProxySession | None) -> dict[str, Any]:
    metadata = session.node.metadata if session is not None else {}
    entry: dict[str, Any] = {
        "cluster_id": metadata.get("CLUSTER_ID") or CLUSTER_ID,
        "proxy": status.proxy,
        "proxy_type": status.node.split("~", 1)[0],
        "proxy_version": status.user_agent,
        "istio_version": metadata.get("ISTIO_VERSION") or "",
    }
    for type_ in status.types:
        name = _SYNCZ_NAMES.get(type_.type_url)
        if name is not None:
            entry[f"{name}_sent"] = type_.sent_nonce
            entry[f"{name}_acked"] = type_.acked_nonce
    entry["types"] = {discovery_service(type_.type_url): _type_status(type_, status.clock) for type_ in status.types}
    return without_empty(entry)


def _type_status(status: TypeStatus, clock: float) -> dict[str, Any]:
    return {
        "inSync": status.in_sync,
        "sent": status.sent,
        "acked": status.acked,
        "rejected": status.rejected,
    } | without_empty(
        {
            "secondsSinceAck": round(clock - status.acked_at, 3) if status.acked_at is not None else None,
            "error": status.last_error if status.refused or not status.in_sync else "",
            "refused": dict(status.refused),
            "waiting": [waiting.name for waiting in status.waiting],
            "waitsFor": f"{discovery_service(status.waits_for[0])} {status.waits_for[1]}" if status.waits_for else "",
            "lingering": [lingering.name for lingering in status.lingering],
        }
    )


def _client(status: ConnectionStatus) -> dict[str, Any]:
    return {
        "connectionId": status.id,
        "connectedAt": datetime.fromtimestamp(status.connected_at, UTC).isoformat(),
        "address": status.address,
    }


def _introduction(status: ConnectionStatus, session: ProxySession | None) -> dict[str, Any]:
    if session is None:
        return {}
    node = session.node
    locality = without_empty({"region": node.region, "zone": node.zone, "subZone": node.sub_zone})
    return without_empty(
        {
            "labels": node.metadata.get("LABELS") or {},
            "metadata": dict(node.metadata),
            "locality": locality,
            "identity": str(session.identity) if session.identity is not None else "",
            "views": list(status.views),
            "subscribed": {
                discovery_service(type_.type_url): "*" if type_.wildcard else type_.names for type_ in status.types
            },
        }
    )
