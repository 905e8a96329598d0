"""The demo's sample services: a small shop, every service of it this one program.

    web ──▶ catalog ──▶ prices (v1, v2)
     └────▶ orders

    http_proxy=http://127.10.0.3:15080 python -m dragoman.demo.shop --service catalog --address 127.10.0.3:8081

Each answer is JSON that names the service, its version, the caller that its sidecar verified and the answers of the
services that were asked for it: one request at the front shows the identities of every hop. Nothing here knows of a
mesh: calls go to plain host names, and the environment's `http_proxy` leads them through the sidecar.
"""

import argparse
import asyncio
import ctypes
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web

from dragoman.demo.callers import verified_caller

CALLS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "web": {"/": ("catalog", "orders"), "/catalog": ("catalog",), "/orders": ("orders",)},
    "catalog": {"/": ("prices",)},
    "prices": {"/": ()},
    "orders": {"/": ()},
}
"""service → path → the services asked for an answer, all at once."""

GOODS: Mapping[str, Any] = {
    "web": "Welcome to the bazaar",
    "catalog": ["lamp", "kettle", "carpet"],
    "prices": {"v1": {"lamp": 40, "kettle": 25, "carpet": 90}, "v2": {"lamp": 32, "kettle": 20, "carpet": 72}},
    "orders": [{"number": 1, "item": "kettle"}],
}

PROPAGATED = frozenset({
    "x-request-id", "traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid",
    "x-b3-sampled", "x-b3-flags", "x-user", "x-canary",
})  # fmt: skip
"""Request headers an application hands on: a trace is whole, and a route by user works at the second hop, only so."""

_PATIENCE_SECONDS = 45.0
"""How long a service waits for another: longer than a machine that is busy with other things takes."""


@dataclass(frozen=True, slots=True)
class Service:
    """One workload of the shop. `upstreams` is the URL of another service, with `{service}` in it for the name."""

    name: str
    version: str
    upstreams: str

    async def answer(self, request: web.Request, client: ClientSession) -> web.Response:
        """200 with the own part and those of the upstreams; with the status of the first upstream that failed if any.

        A denied or broken hop is so seen at the front, beside the answers of the hops that worked.
        """
        headers = {name: value for name, value in request.headers.items() if name.lower() in PROPAGATED}
        asked = CALLS[self.name][request.path]
        upstreams = await asyncio.gather(*(self._ask(service, client, headers) for service in asked))
        body = {
            "service": self.name,
            "version": self.version,
            "caller": verified_caller(request.headers.get("x-forwarded-client-cert", "")),
            "answer": self._goods(),
            "upstreams": dict(zip(asked, upstreams, strict=True)),
        }
        status = next((upstream["status"] for upstream in upstreams if upstream["status"] != 200), 200)
        return web.json_response(body, status=status)

    async def _ask(self, service: str, client: ClientSession, headers: Mapping[str, str]) -> dict[str, Any]:
        url = self.upstreams.format(service=service)
        try:
            async with client.get(url, headers=headers) as response:
                if response.content_type == "application/json":
                    return {"status": response.status, **await response.json()}
                return {"status": response.status, "error": (await response.text()).strip()}
        except (ClientError, TimeoutError) as error:
            return {"status": 502, "error": f"{url}: {str(error) or type(error).__name__}"}

    def _goods(self) -> Any:
        goods = GOODS[self.name]
        return goods.get(self.version, goods["v1"]) if self.name == "prices" else goods


async def serve(service: Service, listening: socket.socket) -> None:
    """Answer on `listening` until the process is ended."""
    # trust_env reads http_proxy and no_proxy. No cookie jar: the shop's answers depend on the request alone. As many
    # connections as there are requests: those that wait for one are not served in the order in which they came.
    async with ClientSession(
        trust_env=True,
        timeout=ClientTimeout(total=_PATIENCE_SECONDS),
        cookie_jar=DummyCookieJar(),
        connector=TCPConnector(limit=0),
    ) as client:

        async def answer(request: web.Request) -> web.Response:
            return await service.answer(request, client)

        async def health(_: web.Request) -> web.Response:
            return web.Response(text="ok\n")

        application = web.Application()
        application.add_routes([web.get(path, answer) for path in CALLS[service.name]])
        application.add_routes([web.get("/healthz", health)])
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.SockSite(runner, listening).start()
        await asyncio.Event().wait()


def end_with_parent() -> None:
    """Have the kernel end this process when its parent ends, however that happens (prctl(2), PR_SET_PDEATHSIG)."""
    pr_set_pdeathsig = 1
    if ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGTERM):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")


def bind(address: str) -> socket.socket:
    """A listening socket on `HOST:PORT` (IPv4).

    Without SO_REUSEPORT, so that a second program on the same address is an error and not a share of the traffic.
    """
    host, _, port = address.rpartition(":")
    return socket.create_server((host, int(port)), backlog=512)


def main() -> None:
    """Command line of one service."""
    parser = argparse.ArgumentParser(prog="python -m dragoman.demo.shop", description="one service of the demo's shop")
    parser.add_argument("--service", required=True, choices=sorted(CALLS))
    parser.add_argument("--version", default="v1")
    parser.add_argument("--address", required=True, metavar="HOST:PORT", help="where to listen")
    parser.add_argument(
        "--upstreams",
        default="http://{service}.shop.svc.cluster.local:8080/",
        metavar="URL",
        help="where the other services are, with {service} in it (default: %(default)s)",
    )
    arguments = parser.parse_args()
    # The default actions of both signals end the process at once and in silence; Python's own prints a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent()
    asyncio.run(serve(Service(arguments.service, arguments.version, arguments.upstreams), bind(arguments.address)))


if __name__ == "__main__":
    main()
