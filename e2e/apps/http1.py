"""The echo server's HTTP/1.1 and WebSocket side, on aiohttp."""

import asyncio
import socket
import struct

from aiohttp import WSMsgType, web

from e2e.apps.requests import Request, Workload, respond


def server(workload: Workload) -> web.Server:
    """A server whose call makes the protocol of one connection."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        response = respond(workload, await _read(request))
        websocket = web.WebSocketResponse()
        if response.status == 200 and websocket.can_prepare(request):
            return await _echo_messages(workload, request, websocket)
        await asyncio.sleep(response.delay_seconds)
        if response.reset and request.transport is not None:
            reset(request.transport)
        return web.Response(status=response.status, headers=response.headers, body=response.body)

    return web.Server(handle, access_log=None)


async def _read(request: web.BaseRequest) -> Request:
    transport = request.transport
    return Request(
        protocol=f"HTTP/{request.version.major}.{request.version.minor}",
        tls=transport is not None and transport.get_extra_info("sslcontext") is not None,
        peer=request.remote or "",
        method=request.method,
        host=request.host,
        path=request.raw_path,
        headers={name.lower(): ",".join(request.headers.getall(name)) for name in request.headers},
        body=await request.text(),
    )


async def _echo_messages(
    workload: Workload, request: web.BaseRequest, websocket: web.WebSocketResponse
) -> web.WebSocketResponse:
    """First who answers (workload and version), then every message as it came."""
    await websocket.prepare(request)
    await websocket.send_json({"workload": workload.name, "version": workload.version})
    async for message in websocket:
        if message.type is WSMsgType.TEXT:
            await websocket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await websocket.send_bytes(message.data)
    return websocket


def reset(transport: asyncio.BaseTransport) -> None:
    """Close a connection with RST instead of FIN (socket(7), SO_LINGER of zero seconds)."""
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()
