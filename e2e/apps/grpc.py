"""The echo server's gRPC side.

Methods of `e2e.Echo`, whose messages are bytes: `Unary` answers with JSON, `Stream` sends every message back.
The request metadata `fail: N` makes a call fail with the status code N.
"""

import json
from collections.abc import AsyncIterator

import grpc
import grpc.aio

from e2e.apps.requests import Workload


async def serve(workload: Workload, port: int) -> grpc.aio.Server:
    """Listen; the caller keeps the server, which ends when it is collected."""

    async def unary(message: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        metadata = _metadata(context)
        await _fail_if_asked(metadata, context)
        answer = {
            "workload": workload.name,
            "version": workload.version,
            "message": message.decode(),
            "peer": context.peer(),
            "metadata": metadata,
        }
        return json.dumps(answer).encode()

    async def stream(
        messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> AsyncIterator[bytes]:
        await _fail_if_asked(_metadata(context), context)
        async for message in messages:
            yield message

    server = grpc.aio.server()
    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Stream": grpc.stream_stream_rpc_method_handler(stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("e2e.Echo", methods),))
    server.add_insecure_port(f"0.0.0.0:{port}")
    await server.start()
    return server


def _metadata(context: grpc.aio.ServicerContext[bytes, bytes]) -> dict[str, str]:
    return {key: value if isinstance(value, str) else value.hex() for key, value in context.invocation_metadata() or ()}


async def _fail_if_asked(metadata: dict[str, str], context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
    for code in grpc.StatusCode:
        if str(code.value[0]) == metadata.get("fail"):
            await context.abort(code, "as asked")
