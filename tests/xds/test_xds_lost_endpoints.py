"""A stream that ends between a changed cluster and its endpoints, before a real Envoy: it gets over it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
from xds_envoy import real_envoy
from xds_samples import changes, cluster, endpoints, listener, route

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, Encoded, Ref
from tests.support.until import until
from xds import Patience, View
from xds.services import Method, services

pytestmark = pytest.mark.envoy
PATIENCE = Patience(linger={}, wait=60.0)


class CutShort:
    """Serves a view by the product's machine, but ends a stream instead of sending endpoints, once it is told to."""

    def __init__(self, method: Method, view: View) -> None:
        self.method = method
        self.view = view
        self.cut: dict[Ref, Encoded | None] | None = None
        """What changes when the next endpoints are due, which are not sent."""
        self.said: list[list[tuple[str, str]]] = []
        """Of each stream, in their order: "asks" or "gets", and the type."""
        self._news = asyncio.Event()

    async def serve(self, _requests: object, context: Any) -> None:
        self.stream = self.method.stream((self.view,), patience=PATIENCE, on_change=self._news.set)
        said: list[tuple[str, str]] = []
        self.said.append(said)
        read: asyncio.Task[Any] = asyncio.ensure_future(context.read())
        try:
            while True:
                news = asyncio.ensure_future(self._news.wait())
                await asyncio.wait((read, news), return_when=asyncio.FIRST_COMPLETED, timeout=0.1)
                news.cancel()
                self._news.clear()
                if read.done():
                    data = read.result()
                    if not isinstance(data, bytes):
                        return
                    request = self.method.parse(data)
                    said.append(("asks", request.type_url))
                    self.stream.receive(request, time.monotonic())
                    read = asyncio.ensure_future(context.read())
                while (response := self.stream.next_response(time.monotonic())) is not None:
                    if self.cut is not None and response.type_url == ENDPOINT:
                        self.view.apply(self.cut)
                        self.cut = None
                        return
                    said.append(("gets", response.type_url))
                    await context.write(response.data)
        finally:
            read.cancel()
            self.stream.close()

    def in_sync(self) -> bool:
        types = self.stream.status()
        return {t.type_url for t in types} >= {CLUSTER, ENDPOINT, LISTENER, ROUTE} and all(t.in_sync for t in types)


MOVED = changes(route("r", "b"), gone=((CLUSTER, "a"), (ENDPOINT, "a")))


@pytest.mark.parametrize("meanwhile", [{}, MOVED], ids=["nothing", "gone"])
@pytest.mark.parametrize("protocol", ["DELTA_GRPC", "GRPC"], ids=["delta", "sotw"])
async def test_endpoints_come_to_who_waits_for_them(tmp_path, protocol, meanwhile):
    name = "DeltaAggregatedResources" if protocol == "DELTA_GRPC" else "StreamAggregatedResources"
    service, method = next((s, m) for s, methods in services().items() for m in methods if m.name == name)
    view = View("v")
    view.apply(changes(cluster("a"), endpoints("a", 1), listener("l", "r"), route("r", "a")))
    cutting = CutShort(method, view)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {name: grpc.stream_stream_rpc_method_handler(cutting.serve)}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with real_envoy(port, tmp_path, protocol) as envoy:

            async def warm_again() -> bool:
                return len(cutting.said) > 1 and cutting.in_sync() and not await envoy.warming()

            await until(lambda: bool(cutting.said) and cutting.in_sync())
            cutting.cut = meanwhile
            view.apply(changes(cluster("a", connectTimeout="7s"), cluster("b"), endpoints("b", 1), route("r", "b")))
            await until(warm_again)
            clusters = {entry["cluster"]["name"]: entry for entry in await envoy.dump("dynamic_active_clusters")}
            assert clusters.keys() == {"b"} if meanwhile else clusters["a"]["cluster"]["connect_timeout"] == "7s"
    finally:
        await server.stop(0)
    again = cutting.said[1]
    assert again.index(("gets", ENDPOINT)) < again.index(("asks", CLUSTER)), "Envoy pauses what comes before"
    assert again.index(("asks", ROUTE)) < again.index(("asks", CLUSTER)) < again.index(("gets", ROUTE)), (
        "no route to a cluster of which the client has not said that it has it"
    )
