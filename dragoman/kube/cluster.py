"""Requests to an API server. Bodies stay bytes, so that lists of ten thousand objects are decoded only where needed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urlencode

import aiohttp
import msgspec

from dragoman.kube.connection import connect
from dragoman.kube.errors import ApiError
from dragoman.kube.open_sockets import OpenSockets
from dragoman.kube.resource import ApiResource

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from kubernetes_asyncio.client import ApiClient

Query = Mapping[str, str] | Iterable[tuple[str, str]]
_PATCHES = {"merge": "application/merge-patch+json", "json": "application/json-patch+json"}
_APPLY = "application/apply-patch+yaml"
_PAGE = 500  # objects a page, as client-go's pager
_JSON = "application/json"
_BEGINS_WITHIN = 30.0
"""Seconds in which an endless answer begins: a server that accepts a connection may still have nobody to answer."""
_TLS_GOODBYE = 1.0  # seconds that a closed connection may take to end


class Cluster:
    """A connection to an API server, used as an asynchronous context manager.

    Every method raises `ApiError` where the server refuses or does not answer.
    """

    def __init__(self, client: ApiClient, namespace: str = "default") -> None:
        self._client = client
        self._sockets = OpenSockets(client.rest_client.pool_manager)
        self.namespace = namespace
        """What commands mean when they name no namespace: that of the context, or of this pod."""

    @classmethod
    async def connect(cls, kubeconfig: Path | None = None, context: str | None = None) -> Self:
        """The cluster of a kubeconfig (kubectl's default without one), or this pod's own; see `connection.connect`."""
        return cls(*await connect(kubeconfig, context))

    @property
    def server(self) -> str:
        """The server's URL."""
        return str(self._client.configuration.host)

    async def close(self) -> None:
        await self._client.close()
        await self._sockets.end(_TLS_GOODBYE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @contextlib.asynccontextmanager
    async def _response(
        self,
        method: str,
        path: str,
        query: Query,
        body: bytes | None,
        content_type: str,
        limit: aiohttp.ClientTimeout,
        further_headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        url, headers, options = await self._addressed(path, query)
        headers |= further_headers or {}
        if body is not None:
            headers["Content-Type"] = content_type
        session: aiohttp.ClientSession = self._client.rest_client.pool_manager
        try:
            async with session.request(method, url, data=body, headers=headers, timeout=limit, **options) as response:
                if response.status >= 400:
                    raise ApiError.of(response.status, await response.read())
                try:
                    yield response
                finally:
                    # An answer that was not read to its end, as a watch's: TLS may take longer to say goodbye than our
                    # loop runs, and would leave a socket open.
                    if response.connection is not None and response.connection.transport is not None:
                        response.connection.transport.abort()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError.unreachable(self.server, error) from error

    async def _addressed(self, path: str, query: Query) -> tuple[str, dict[str, str], dict[str, Any]]:
        """URL, headers and connection options of a request."""
        configuration = self._client.configuration
        headers = {"Accept": _JSON, "User-Agent": "dragoman"}
        for setting in (await configuration.auth_settings()).values():
            headers[setting["key"]] = setting["value"]
        pairs = list(query.items() if isinstance(query, Mapping) else query)
        url = self.server + path + (f"?{urlencode(pairs)}" if pairs else "")
        options: dict[str, Any] = {}
        if configuration.tls_server_name:
            options["server_hostname"] = configuration.tls_server_name
        if configuration.proxy:
            options |= {"proxy": configuration.proxy, "proxy_headers": configuration.proxy_headers}
        return url, headers, options

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: object = None,
        content_type: str = _JSON,
        headers: Mapping[str, str] | None = None,
        within: float | None = 30.0,
    ) -> bytes:
        """Send a request and return the answer's body, which must come ``within`` seconds.

        ``body`` is bytes, or anything that is written as JSON; ``headers`` are further ones.
        """
        data = body if isinstance(body, bytes) or body is None else msgspec.json.encode(body)
        limit = aiohttp.ClientTimeout(total=within)
        async with self._response(method, path, query, data, content_type, limit, headers) as response:
            return await response.read()

    @contextlib.asynccontextmanager
    async def lines(
        self,
        path: str,
        *,
        query: Query = (),
        idle_timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[AsyncIterator[bytes], None]:
        """The lines of an endless answer (a watch, a log), which ends or raises as the connection does.

        A connection on which nothing arrives for ``idle_timeout`` seconds counts as lost.
        """
        limit = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=idle_timeout)
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(_BEGINS_WITHIN):
                    response = await stack.enter_async_context(
                        self._response("GET", path, query, None, _JSON, limit, headers)
                    )
            except TimeoutError as error:
                raise ApiError.unreachable(self.server, error) from error
            _keep_alive(response)
            yield await stack.enter_async_context(contextlib.aclosing(_lines(response.content)))

    @contextlib.asynccontextmanager
    async def websocket(
        self, path: str, *, query: Query = (), protocol: str, within: float = 10.0
    ) -> AsyncGenerator[aiohttp.ClientWebSocketResponse, None]:
        """A WebSocket that speaks a subprotocol (of `exec`, `portforward`, …), opened ``within`` seconds."""
        url, headers, options = await self._addressed(path, query)
        session: aiohttp.ClientSession = self._client.rest_client.pool_manager
        try:
            async with asyncio.timeout(within):
                socket = await session.ws_connect(
                    url, protocols=(protocol,), headers=headers, max_msg_size=0, **options
                )
        except aiohttp.WSServerHandshakeError as error:
            raise ApiError(error.status, "", f"{self.server}{path}: {error.status} {error.message}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError.unreachable(self.server, error) from error
        async with _to_its_end(socket), socket:
            yield socket

    async def get(self, resource: ApiResource, name: str, namespace: str | None = None) -> dict[str, Any]:
        """One object."""
        return _object(await self.request("GET", resource.path(namespace, name)))

    async def list(
        self,
        resource: ApiResource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> list[dict[str, Any]]:
        """The objects of a namespace, or of all of them, page by page."""
        query = {"limit": str(_PAGE)}
        if label_selector:
            query["labelSelector"] = label_selector
        if field_selector:
            query["fieldSelector"] = field_selector
        found: list[dict[str, Any]] = []
        while True:
            page = _object(await self.request("GET", resource.path(namespace), query=query))
            # Items of a list do not repeat what they are.
            found += [{"apiVersion": resource.api_version, "kind": resource.kind, **item} for item in page["items"]]
            more = page["metadata"].get("continue")
            if not more:
                return found
            query["continue"] = more

    async def create(
        self, resource: ApiResource, body: Mapping[str, Any], namespace: str | None = None, *, dry_run: bool = False
    ) -> dict[str, Any]:
        """Create an object; the answer is what was stored, or for a review what was found."""
        namespace = namespace or body.get("metadata", {}).get("namespace")
        path = resource.path(namespace)
        return _object(await self.request("POST", path, query=_options(dry_run), body=body))

    async def replace(
        self, resource: ApiResource, body: Mapping[str, Any], *, subresource: str | None = None
    ) -> dict[str, Any]:
        """Replace an object; with a `resourceVersion` in it only if nobody else wrote since (`ApiError.conflict`)."""
        metadata = body["metadata"]
        path = resource.path(metadata.get("namespace"), metadata["name"], subresource)
        return _object(await self.request("PUT", path, body=body))

    async def apply(
        self,
        resource: ApiResource,
        body: Mapping[str, Any],
        *,
        field_manager: str = "dragoman",
        force: bool = True,
        subresource: str | None = None,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Server-side apply: own the fields of ``body`` and no others (Kubernetes: Server-Side Apply).

        Without ``force``, fields that another manager owns are an `ApiError.conflict`.
        """
        metadata = body["metadata"]
        path = resource.path(metadata.get("namespace"), metadata["name"], subresource)
        query = [("fieldManager", field_manager), ("force", str(force).lower()), *_options(dry_run)]
        return _object(await self.request("PATCH", path, query=query, body=body, content_type=_APPLY))

    async def patch(
        self,
        resource: ApiResource,
        name: str,
        patch: object,
        namespace: str | None = None,
        *,
        kind: Literal["merge", "json"] = "merge",
        subresource: str | None = None,
    ) -> dict[str, Any]:
        """Change an object by a JSON merge patch (RFC 7386) or a JSON patch (RFC 6902)."""
        path = resource.path(namespace, name, subresource)
        return _object(await self.request("PATCH", path, body=patch, content_type=_PATCHES[kind]))

    async def delete(
        self, resource: ApiResource, name: str, namespace: str | None = None, *, propagation: str = "Background"
    ) -> None:
        """Delete an object, and what it owns after it."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        await self.request("DELETE", resource.path(namespace, name), body=body)


@contextlib.asynccontextmanager
async def _to_its_end(socket: aiohttp.ClientWebSocketResponse) -> AsyncGenerator[None, None]:
    """Leave no connection behind when the WebSocket has been closed: one that TLS takes too long to end is cut.

    So is one whose end nobody may wait for, as they have been cancelled. aiohttp forgets the connection as the
    WebSocket closes, and a loop that ends before TLS has said goodbye leaves a socket open: no public name leads to it.
    """
    protocol: ResponseHandler | None = getattr(getattr(socket, "_conn", None), "protocol", None)
    transport = protocol.transport if protocol is not None else None
    ended = protocol.closed if protocol is not None else None
    try:
        yield
        if ended is not None:
            await asyncio.wait((ended,), timeout=_TLS_GOODBYE)
    finally:
        if transport is not None and ended is not None and not ended.done():
            transport.abort()


def _options(dry_run: bool) -> list[tuple[str, str]]:
    # Misspelt fields are an error rather than dropped (Kubernetes: API concepts, field validation).
    return [("fieldValidation", "Strict"), *([("dryRun", "All")] if dry_run else [])]


def _object(body: bytes) -> dict[str, Any]:
    return msgspec.json.decode(body, type=dict[str, Any])


def _keep_alive(response: aiohttp.ClientResponse) -> None:
    """Notice in some fifty seconds that the other end is gone: watches may say nothing for long."""
    transport = response.connection.transport if response.connection is not None else None
    connection: socket.socket | None = transport.get_extra_info("socket") if transport is not None else None
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, option):  # not everywhere
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


async def _lines(content: aiohttp.StreamReader) -> AsyncGenerator[bytes, None]:
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line
