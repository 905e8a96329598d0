"""A client of Envoy's admin interface."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any, Self

import aiohttp

from dragoman.sidecar.address import SocketAddress


class AdminError(RuntimeError):
    """Envoy refused an admin request; `str()` has its words."""


class Admin:
    """Envoy's admin interface at `address`. An async context manager.

    Every request raises `aiohttp.ClientError` when Envoy is out of reach.
    """

    def __init__(self, address: SocketAddress, *, timeout_seconds: float = 10) -> None:
        self.address = address
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def state(self) -> str:
        """`LIVE`, or what Envoy waits for (`PRE_INITIALIZING`, `INITIALIZING`), or `DRAINING`."""
        _, text = await self._request("GET", "/ready")
        return text.strip()

    async def get(self, path: str) -> str:
        """What Envoy answers to `path`; raises `AdminError` unless that is a 200."""
        return await self._expect("GET", path)

    async def post(self, path: str) -> str:
        """What Envoy answers to the command `path`; raises `AdminError` unless that is a 200."""
        return await self._expect("POST", path)

    async def statistics(self, pattern: str) -> dict[str, int]:
        """The counters and gauges whose names match the regular expression `pattern`."""
        answer = json.loads(await self._expect("GET", "/stats", {"format": "json", "filter": pattern}))
        # Histograms have no value, and text readouts (`…version_text`) no number.
        return {stat["name"]: stat["value"] for stat in answer["stats"] if isinstance(stat.get("value"), int)}

    async def listening(self) -> frozenset[SocketAddress]:
        """The TCP addresses of all listeners, static ones included; without those that bind no port."""
        answer = json.loads(await self._expect("GET", "/listeners", {"format": "json"}))
        addresses = [status["local_address"].get("socket_address") for status in answer.get("listener_statuses", ())]
        return frozenset(SocketAddress(a["address"], a["port_value"]) for a in addresses if a is not None)

    async def config_dump(self) -> dict[str, Any]:
        """Everything Envoy has been told, endpoints included. Envoy itself blots out private keys."""
        dump: dict[str, Any] = json.loads(await self._expect("GET", "/config_dump", {"include_eds": ""}))
        return dump

    async def _expect(self, method: str, path: str, query: dict[str, str] | None = None) -> str:
        status, text = await self._request(method, path, query)
        if status != 200:
            raise AdminError(f"{method} {path}: {status} {text.strip()}")
        return text

    async def _request(self, method: str, path: str, query: dict[str, str] | None = None) -> tuple[int, str]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        async with self._session.request(method, f"http://{self.address}{path}", params=query) as response:
            return response.status, await response.text()
