"""Who may see the debug pages.

They show the mesh's whole configuration, so other machines need a token. Health, readiness, metrics and the version are
for everybody who reaches the port, as scrapers and probes have no token.
"""

from __future__ import annotations

import hmac
import ipaddress
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

OPEN_PATHS: Final = frozenset(("/ready", "/healthz", "/metrics", "/version", "/.well-known/spiffe-bundle"))

TOKEN_HEADER: Final = "Dragoman-Debug-Token"  # noqa: S105 - its name
"""Holds the token where `Authorization` cannot: an API server keeps that for itself when it proxies (Kubernetes:
apiserver/pkg/endpoints/filters/authentication.go)."""

_LOCAL_NAMES: Final = frozenset(("localhost", "ip6-localhost"))


def restricted(token: str | None) -> Middleware:
    """Lets through what is open, peers on this machine, and whoever has the token."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in OPEN_PATHS or _is_local(request) or _has_token(request, token):
            return await handler(request)
        hint = "bring the bearer token" if token else "start the server with --debug-token-file to open them"
        return web.json_response({"error": f"debug pages are for this machine only: {hint}"}, status=403)

    return check


def _is_local(request: web.Request) -> bool:
    """Whether the peer is on this machine and means this machine: a web page whose own name was made to resolve to
    loopback gets the browser to connect here, but names itself as the host (DNS rebinding)."""
    return _is_loopback(request.remote or "") and (
        _is_loopback(request.url.host or "") or request.url.host in _LOCAL_NAMES
    )


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _has_token(request: web.Request, token: str | None) -> bool:
    if token is None:
        return False
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    given = bearer if scheme.lower() == "bearer" else request.headers.get(TOKEN_HEADER, "")
    return hmac.compare_digest(given.encode(), token.encode())
