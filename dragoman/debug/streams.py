"""Pages about streams: what every proxy was sent and has accepted.

Shapes are Istio's where it has the page (Istio: pilot/pkg/xds/debug.go: SyncStatus, AdsClients).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from dragoman.codec import CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, ROUTE
from dragoman.debug.plane import by_node, long_page, plane_of, views_in_use, without_empty, written
from dragoman.runtime import ControlPlane
from dragoman.runtime.blame import RejectedResource
from dragoman.runtime.observer import Nack, discovery_service
from dragoman.runtime.sessions import ProxySession
from dragoman.turns import in_turns
from xds import Blocked, ConnectionStatus, Rejection, TypeStatus, View

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
    """What every proxy was sent and has accepted, as nonces; `types` says of each type if it is in sync, or why not.

    In sync is who has accepted all that is served; `heldBack` is what is not, because a proxy rejected it; `lacking`
    are credentials that cannot be had, because their Secret is missing or broken.
    """
    plane = plane_of(request)
    return await long_page(_sync_status(plane, status, session) for status, session in _connected(plane))


@routes.get("/debug/adsz")
async def adsz(request: web.Request) -> web.Response:
    """Connected proxies with their labels, metadata and subscriptions."""
    connected = _connected(plane_of(request))
    return await _clients(_client(status) | _introduction(status, session) for status, session in connected)


@routes.get("/debug/connections")
async def connections(request: web.Request) -> web.Response:
    """Connected proxies: since when, and from where."""
    return await _clients(map(_client, plane_of(request).server.connections()))


async def _clients(entries: Iterable[dict[str, Any]]) -> web.Response:
    clients = [entry async for entry in in_turns(entries)]
    return await written({"totalClients": len(clients), "clients": clients})


@routes.get("/debug/nackz")
async def nackz(request: web.Request) -> web.Response:
    """What proxies rejected, in Envoy's words and with the objects to look at.

    `heldBack` and `refused` are the state now: what no proxy gets, and what one proxy alone does without. `rejections`
    are the latest events, newest first.
    """
    plane = plane_of(request)
    return await written(
        {
            "heldBack": [
                _held_back(plane, view, blocked)
                for view in views_in_use(plane)
                for _, blocked in sorted(view.blocked().items(), key=lambda item: item[0])
            ],
            "refused": [
                {"proxy": status.proxy, "type": discovery_service(type_.type_url), "name": name, "message": message}
                async for status in in_turns(plane.server.connections())
                for type_ in status.types
                for name, message in type_.refused
            ],
            "rejections": [_rejection(nack) for nack in reversed(plane.observer.nacks)],
        }
    )


def _held_back(plane: ControlPlane, view: View, blocked: Blocked) -> dict[str, Any]:
    described = plane.diagnosis.rejected_of(view, blocked.wanted)
    entry: dict[str, Any] = {
        "view": view.name,
        "type": discovery_service(blocked.wanted.type_url),
        "name": described.name,
        "version": described.version,
        "because": because(blocked),
        "servedInstead": described.served_instead,
        "madeFrom": _made_from(described),
    }
    if not isinstance(blocked.reason, tuple):
        entry["rejectedBy"] = _proxies(plane, blocked.reason)
        entry["since"] = _time(blocked.reason.at)
    return entry


def _proxies(plane: ControlPlane, rejection: Rejection) -> list[str]:
    """Who rejected a version: the one by whose word it is held back, then those that had been sent it, too."""
    others = (
        proxy
        for nack in plane.observer.nacks
        for resource in nack.resources
        if (nack.type_url, resource.name, resource.version) == (rejection.type_url, rejection.name, rejection.version)
        for proxy in nack.proxies
    )
    return list(dict.fromkeys((rejection.proxy, *others)))


def because(blocked: Blocked) -> str:
    """Why a resource is not served: Envoy's words, or what it needs."""
    if isinstance(blocked.reason, tuple):
        type_url, name = blocked.reason
        return f"it needs {discovery_service(type_url)} {name!r}, which is held back"
    return blocked.reason.message


def _rejection(nack: Nack) -> dict[str, Any]:
    return {
        "time": nack.at.isoformat(),
        "proxies": nack.proxies,
        "type": discovery_service(nack.type_url),
        "message": nack.message,
        "resources": [
            {"name": resource.name, "version": resource.version, "madeFrom": _made_from(resource)}
            for resource in nack.resources
        ],
    }


def _made_from(resource: RejectedResource) -> list[dict[str, str]]:
    return [{"object": str(origin.key)} | ({"at": origin.at} if origin.at else {}) for origin in resource.made_from]


def _time(epoch_seconds: float) -> str:
    return datetime.fromtimestamp(epoch_seconds, UTC).isoformat()


def _connected(plane: ControlPlane) -> Iterator[tuple[ConnectionStatus, ProxySession | None]]:
    sessions = by_node(plane)
    for status in plane.server.connections():
        session = sessions.get(status.node)
        # One that has ended since the page was begun has let go of what it had.
        yield status, session if session is not None and session.views else None


def _sync_status(plane: ControlPlane, status: ConnectionStatus, session: ProxySession | None) -> dict[str, Any]:
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
    held_back = _held_back_of(session)
    entry["types"] = {
        discovery_service(type_.type_url): _type_status(type_, status.clock, held_back.get(type_.type_url, {}))
        for type_ in status.types
    }
    lacking = plane.credentials.lacking(session.credentials) if session is not None and session.credentials else {}
    if lacking and "sds" in entry["types"]:
        entry["types"]["sds"]["lacking"] = lacking
    return without_empty(entry)


def _held_back_of(session: ProxySession | None) -> Mapping[str, dict[str, str]]:
    """What a proxy's views want it to have and do not serve, and why: by type and name."""
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for view in session.views if session is not None else ():
        for (type_url, name), blocked in view.blocked().items():
            found[type_url][name] = because(blocked)
    return found


def _type_status(status: TypeStatus, clock: float, held_back: Mapping[str, str]) -> dict[str, Any]:
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
            "heldBack": dict(held_back),
            "waiting": [waiting.name for waiting in status.waiting],
            "waitsFor": f"{discovery_service(status.waits_for[0])} {status.waits_for[1]}" if status.waits_for else "",
            "lingering": [lingering.name for lingering in status.lingering],
        }
    )


def _client(status: ConnectionStatus) -> dict[str, Any]:
    return {
        "connectionId": status.id,
        "connectedAt": _time(status.connected_at),
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
