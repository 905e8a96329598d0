"""Metrics and access logs of real traffic between two Envoys, over everything between YAML and scrape."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.translators.telemetry_mesh import HOST, HTTP, TCP_CLIENT, TelemetryMesh, telemetry_mesh
from translators.metric_labels import HTTP_LABELS, TCP_LABELS

pytestmark = pytest.mark.envoy

CLIENT = {
    "source_workload": "client-v1.x",
    "source_canonical_service": "Client_App",
    "source_canonical_revision": "1.2.3",
    "source_workload_namespace": "shop",
    "source_principal": "spiffe://cluster.local/ns/shop/sa/client",
    "source_app": "Client_App",
    "source_version": "1.2.3",
    "source_cluster": "Kubernetes",
}
NOBODY = dict.fromkeys(CLIENT, "unknown")
SERVICE = {
    "destination_service": HOST,
    "destination_service_name": "server",
    "destination_service_namespace": "shop",
}
SERVER = {
    "destination_workload": "server-v2",
    "destination_workload_namespace": "shop",
    "destination_principal": "spiffe://cluster.local/ns/shop/sa/server",
    "destination_app": "server",
    "destination_version": "v2",
    "destination_canonical_service": "shop.server",
    "destination_canonical_revision": "v2",
    "destination_cluster": "Kubernetes",
}
NOWHERE = dict.fromkeys(SERVER, "unknown")
SOURCE = {"reporter": "source", "connection_security_policy": "unknown"}
DESTINATION = {"reporter": "destination", "connection_security_policy": "mutual_tls"}


def http(code: str, flags: str = "-", grpc: bool = False) -> dict[str, str]:
    return {
        "request_protocol": "grpc" if grpc else "http",
        "response_code": code,
        "grpc_response_status": "0" if grpc else "",
        "response_flags": flags,
    }


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[TelemetryMesh]:
    log = {"accessLogFile": str(tmp_path / "access.log"), "accessLogEncoding": "JSON"}
    async with telemetry_mesh(tmp_path, **log) as found:
        yield found


async def test_requests_name_both_workloads_at_both_ends(mesh: TelemetryMesh, tmp_path: Path) -> None:
    assert await mesh.get(f"http://{HOST}:{HTTP}/teapot") == 418
    ends = {**CLIENT, **SERVER, **SERVICE, **http("418")}
    for address, reporter in ((mesh.client, SOURCE), (mesh.server, DESTINATION)):
        sample = await mesh.until_counted(address, "istio_requests_total", at_least=1)
        assert sample.labels == {**ends, **reporter}
        assert tuple(sample.labels) == HTTP_LABELS
        assert sample.value == 1
        for histogram in ("istio_request_duration_milliseconds", "istio_request_bytes", "istio_response_bytes"):
            assert (await mesh.until_counted(address, f"{histogram}_count")).labels == sample.labels

    (line,) = await lines(tmp_path / "access.log", path="/teapot", upstream_cluster=f"inbound|{HTTP}||")
    assert (line["method"], line["response_code"], line["authority"]) == ("GET", 418, f"{HOST}:{HTTP}")
    assert line["requested_server_name"] == f"outbound_.{HTTP}_._.{HOST}"
    assert len(line) == 24


async def test_grpc_is_told_from_other_requests_by_its_content_type(mesh: TelemetryMesh) -> None:
    headers = {"content-type": "application/grpc", "te": "trailers"}
    assert await mesh.get(f"http://{HOST}:{HTTP}/grpc", headers=headers) == 200
    for address in (mesh.client, mesh.server):
        sample = await mesh.until_counted(address, "istio_requests_total")
        assert {**sample.labels, **http("200", grpc=True)} == sample.labels


async def test_a_plaintext_client_is_nobody_whatever_it_says(mesh: TelemetryMesh) -> None:
    assert await mesh.get_directly() == 200
    sample = await mesh.until_counted(mesh.server, "istio_requests_total")
    plain = {"reporter": "destination", "connection_security_policy": "none"}
    server = {**SERVER, "destination_principal": "unknown"}
    assert sample.labels == {**NOBODY, **server, **SERVICE, **http("200"), **plain}


async def test_a_request_past_the_mesh_names_the_host_it_asked_for(mesh: TelemetryMesh) -> None:
    assert await mesh.get("http://nowhere.example/") == 503
    sample = await mesh.until_counted(mesh.client, "istio_requests_total")
    asked = {
        "destination_service": "nowhere.example",
        "destination_service_name": "PassthroughCluster",
        "destination_service_namespace": "unknown",
    }
    anonymous = {**CLIENT, "source_principal": "unknown"}
    assert sample.labels == {**anonymous, **NOWHERE, **asked, **http("503", "UH"), **SOURCE}


async def test_connections_and_their_bytes_are_counted_at_both_ends(mesh: TelemetryMesh) -> None:
    reader, writer = await asyncio.open_connection(mesh.client, TCP_CLIENT)
    writer.write(b"ping")
    assert await reader.readexactly(8) == b"pingping"
    ends = {**CLIENT, **SERVER, **SERVICE, "request_protocol": "tcp", "response_flags": "-"}
    before = {}
    for address, reporter in ((mesh.client, SOURCE), (mesh.server, DESTINATION)):
        opened = await mesh.until_counted(address, "istio_tcp_connections_opened_total", **reporter)
        assert opened.labels == {**ends, **reporter}
        assert tuple(opened.labels) == TCP_LABELS
        before[address] = opened.value
    writer.close()
    await writer.wait_closed()
    for address, reporter in ((mesh.client, SOURCE), (mesh.server, DESTINATION)):
        closed = await mesh.until_counted(
            address, "istio_tcp_connections_closed_total", at_least=before[address], **reporter
        )
        sent = await mesh.until_counted(address, "istio_tcp_sent_bytes_total", at_least=8, **reporter)
        received = await mesh.until_counted(address, "istio_tcp_received_bytes_total", at_least=4, **reporter)
        assert closed.labels == sent.labels == received.labels == {**ends, **reporter}
        assert (sent.value, received.value) == (8, 4)


async def lines(log: Path, **fields: object) -> list[dict[str, object]]:
    """Lines of the log with these fields, as soon as there is one: Envoy writes its files every 10 s, or when full."""
    async with asyncio.timeout(60):
        while not (found := [line for line in _written(log) if fields.items() <= line.items()]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        return found


def _written(log: Path) -> list[dict[str, object]]:
    text = log.read_text() if log.exists() else ""
    # What stands after the last line break is still being written.
    return [json.loads(line) for line in text.split("\n")[:-1]]
