"""The server of `server`, with TLS: callers bring tokens."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from ca.authority import new_root
from ca.caller import PodBinding
from dragoman.callers.json_web_token import JsonWebToken
from dragoman.callers.token_issuer import AUDIENCE, ISSUER, TokenIssuer
from dragoman.cli.file_limit import raise_file_limit
from dragoman.cli.logs import LogFormat, LogLevel, configure
from dragoman.runtime import ControlPlane
from dragoman.runtime.serving_certificate import ServingCertificate
from e2e.bench import mesh
from e2e.bench.lines import answer, commands, obey
from e2e.bench.meter import install
from e2e.bench.server import Server


class TlsServer(Server):
    """Answers `start` with its roots, and with a token for each proxy."""

    def __init__(self, size: mesh.Size) -> None:
        super().__init__(size)
        self.tokens = TokenIssuer(ec.generate_private_key(ec.SECP256R1()))
        keys = self.tokens.keys()
        self.plane = ControlPlane(
            self.source,
            new_root("cluster.local", now=datetime.now(UTC)),
            authenticators=lambda trust: [JsonWebToken(ISSUER, (AUDIENCE,), keys, trust.own, name="token")],
            on_nack=lambda nack: self.rejections.append(str(nack)),
        )

    async def start(self) -> dict[str, Any]:
        await self.plane.load()
        identities = self.plane.identities
        certificate = ServingCertificate(lambda: self.plane.authority, lambda: identities.roots)
        port = await self.plane.server.listen_securely("127.0.0.1", 0, certificate.context)
        await self.plane.start()
        return {"port": port, "roots": identities.roots_pem.decode(), "tokens": list(map(self._token, self._nodes()))}

    def _nodes(self) -> list[str]:
        return mesh.node_ids(self.size)

    def _token(self, node: str) -> str:
        name, _, namespace = node.split("~")[2].rpartition(".")
        binding, account = PodBinding(namespace, name), "account-" + name.split("-")[1]
        return self.tokens.issue(binding, account, now=datetime.now(UTC), lifetime=timedelta(hours=1))


async def _serve() -> None:
    raise_file_limit()
    lines = await commands()
    server = TlsServer(mesh.Size(**json.loads(await lines.readline())))
    answer(await server.start())
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(server.plane.run()), tasks.create_task(server.lag.run())]
        await obey(lines, server)
        for task in running:
            task.cancel()


if __name__ == "__main__":
    configure(LogFormat.json, LogLevel.info, sys.stderr)
    install()
    with suppress(asyncio.CancelledError):
        asyncio.run(_serve())
