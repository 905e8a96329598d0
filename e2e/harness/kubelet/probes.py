"""Asking a container how it is, from the node (Kubernetes: Configure Liveness, Readiness and Startup Probes)."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from e2e.harness.answers import Answer
from e2e.harness.http2 import request
from e2e.harness.ipv6 import family_of
from e2e.harness.kubelet.watching import Object
from e2e.harness.single_request import single_request

Execute = Callable[[list[str], float], Awaitable[int]]
"""Runs a command in the container, at most so many seconds, and returns its status. Raises TimeoutError."""

_SERVING = 1


class Target:
    """Where the probes and hooks of one container go to."""

    def __init__(self, container: Object, address: str, execute: Execute) -> None:
        self._ports = {port["name"]: port["containerPort"] for port in container.get("ports", ()) if "name" in port}
        self._address = address
        self._execute = execute

    async def succeeds(self, probe: Object) -> bool:
        """One try of a probe. A hook is asked for likewise, and may take as long as it wants."""
        seconds = probe.get("timeoutSeconds", 1)
        try:
            async with asyncio.timeout(seconds):
                return await self._try(probe, seconds)
        except (OSError, TimeoutError, aiohttp.ClientError):
            return False

    async def hook(self, hook: Object, seconds: float) -> bool:
        """Run a `postStart` or `preStop` hook; whether it did what it should in time."""
        if "sleep" in hook:
            await asyncio.sleep(min(seconds, hook["sleep"]["seconds"]))
            return True
        return await self.succeeds({**hook, "timeoutSeconds": seconds})

    async def _try(self, probe: Object, seconds: float) -> bool:
        if "httpGet" in probe:
            return 200 <= await self._http(probe["httpGet"]) < 400
        if "tcpSocket" in probe:
            where = probe["tcpSocket"]
            _, writer = await asyncio.open_connection(where.get("host", self._address), self._port(where["port"]))
            writer.close()
            return True
        if "grpc" in probe:
            return await self._grpc(probe["grpc"])
        return await self._execute(list(probe["exec"]["command"]), seconds) == 0

    async def _http(self, get: Object) -> int:
        host, scheme = get.get("host") or self._address, get.get("scheme", "HTTP").lower()
        url = f"{scheme}://{host}:{self._port(get['port'])}/{get.get('path', '/').removeprefix('/')}"
        headers = {
            "User-Agent": "kube-probe/1.36",
            **{each["name"]: each["value"] for each in get.get("httpHeaders", ())},
        }
        if scheme == "http":
            # A session for each of a thousand looks would cost three times as much as the look.
            made = socket.socket(family_of(host), socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            return (await single_request(made, host, url, "GET", headers, b"")).status
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False, force_close=True)) as session,
            session.get(url, headers=headers, allow_redirects=False) as response,
        ):
            await response.read()
            return response.status

    async def _grpc(self, grpc: Object) -> bool:
        reader, writer = await asyncio.open_connection(self._address, grpc["port"])
        try:
            service = grpc.get("service", "").encode()
            # grpc.health.v1.HealthCheckRequest: the name of the service, if any, is field 1.
            message = b"\x0a" + bytes([len(service)]) + service if service else b""
            answer: Answer = await request(
                reader,
                writer,
                "POST",
                f"http://{self._address}:{grpc['port']}/grpc.health.v1.Health/Check",
                headers={"content-type": "application/grpc", "te": "trailers"},
                body=b"\0" + len(message).to_bytes(4, "big") + message,
            )
        finally:
            writer.close()
        return answer.body[5:] == bytes([0x08, _SERVING])

    def _port(self, port: Any) -> int:
        return port if isinstance(port, int) else int(self._ports.get(port, port))
