"""External authorizers as operators run them: a web server and a gRPC service, each answering as a test tells it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from aiohttp import web
from envoy_data_plane.envoy.config.core.v3 import HeaderValue, HeaderValueOption
from envoy_data_plane.envoy.service.auth.v3 import CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode
from envoy_data_plane.google.rpc import Status

from dragoman.codec import decode, encode

_PERMISSION_DENIED = 7


@dataclass(frozen=True, slots=True)
class Asked:
    """What an HTTP authorizer was asked; names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class HttpGuard:
    """Answers with `verdict`, and keeps what it was asked."""

    port: int
    verdict: web.Response | Callable[[], Any]
    asked: list[Asked] = field(default_factory=list)


@asynccontextmanager
async def http_guard(address: str = "127.0.0.1") -> AsyncIterator[HttpGuard]:
    guard = HttpGuard(0, lambda: web.Response())

    async def check(request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        guard.asked.append(Asked(request.method, request.raw_path, headers, await request.read()))
        made = guard.verdict() if callable(guard.verdict) else guard.verdict
        answer: web.StreamResponse = made if isinstance(made, web.StreamResponse) else await made
        return answer

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", check)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address, 0)
        await site.start()
        guard.port = runner.addresses[0][1]
        yield guard
    finally:
        await runner.cleanup()


def allowed(*upstream: tuple[str, str], downstream: tuple[tuple[str, str], ...] = ()) -> CheckResponse:
    """Yes, with headers for the server and for the client."""
    return CheckResponse(
        status=Status(code=0),
        ok_response=OkHttpResponse(headers=_options(upstream), response_headers_to_add=_options(downstream)),
    )


def denied(status: int = 403, body: str = "", *headers: tuple[str, str]) -> CheckResponse:
    return CheckResponse(
        status=Status(code=_PERMISSION_DENIED),
        denied_response=DeniedHttpResponse(
            status=HttpStatus(code=StatusCode(status)), body=body, headers=_options(headers)
        ),
    )


def _options(headers: tuple[tuple[str, str], ...]) -> list[HeaderValueOption]:
    return [HeaderValueOption(header=HeaderValue(key=key, value=value)) for key, value in headers]


@dataclass(slots=True)
class GrpcGuard:
    """The same as a service of Envoy's ext_authz API; `asked` are the attributes of its CheckRequests."""

    port: int
    verdict: CheckResponse
    asked: list[Any] = field(default_factory=list)


@asynccontextmanager
async def grpc_guard(address: str = "127.0.0.1") -> AsyncIterator[GrpcGuard]:
    guard = GrpcGuard(0, allowed())

    async def check(request: bytes, _: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        guard.asked.append(decode(CheckRequest, request).attributes)
        return encode(guard.verdict)

    server = grpc.aio.server()
    handlers = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    service = "envoy.service.auth.v3.Authorization"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    guard.port = server.add_insecure_port(f"{address}:0")
    await server.start()
    try:
        yield guard
    finally:
        await server.stop(grace=0)
