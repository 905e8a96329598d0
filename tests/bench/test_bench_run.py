"""The benchmark runs: a small mesh, some clients, and numbers that can be right."""

import shutil
from pathlib import Path

import pytest

from e2e.bench.mesh import Size, node_ids
from e2e.bench.processes import build_clients, fleet, server
from tests.support.until import until

SIZE = Size(20, replicas=3)

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="the clients are built with a C compiler")


async def test_a_change_is_acked_by_every_client_after_it_was_made(tmp_path: Path) -> None:
    async with server(SIZE) as process, fleet(build_clients(tmp_path), process.port, node_ids(SIZE)) as clients:
        clients.open(0, SIZE.proxies)
        await clients.until(lambda: len(clients.ready) == SIZE.proxies, "clients to be ready")
        assert {ack.type for ack in clients.acks} == {"cds", "eds", "lds", "rds", "sds"}

        async def in_sync() -> bool:  # when the last ACKs are read
            return await process.ask("in_sync") == {"streams": SIZE.proxies, "late": 0, "rejections": []}

        await until(in_sync)
        for kind, type_ in (("endpoint", "eds"), ("route", "rds")):
            clients.forget()
            change = await process.ask(kind)
            await clients.until(lambda: len(clients.acks) == SIZE.proxies, f"ACKs of a {kind} change", 60)
            assert {ack.client for ack in clients.acks} == set(range(SIZE.proxies))
            assert {ack.type for ack in clients.acks} == {type_}
            assert all(ack.at > change["at"] for ack in clients.acks)
            assert change["first_write_cpu_ms"] > 0
        probe = await process.ask("probe")
        assert len(probe["nonces"]) == 1
        clients.close(0, 1)
        clients.open(0, 1)
        await clients.until(lambda: len(clients.ready) == SIZE.proxies, "the client to be back", 60)
