"""The webhooks over HTTPS, as an API server calls them."""

import asyncio
import contextlib
import io
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from ca.authority import Authority, new_root
from crds.codes import problem
from dragoman.admission import AdmissionRequest, AdmissionServer, Verdict
from dragoman.admission import listener as listener_module
from dragoman.admission.server import BODY_BYTES
from dragoman.runtime.serving_certificate import ServingCertificate
from tests.admission.reviews import BAD_ROUTE, pod, response, review, virtual_service

NAME = "istiod.istio-system.svc"
JSON = {"Content-Type": "application/json"}
PATCH = [{"op": "add", "path": "/metadata/labels", "value": {"security.istio.io/tlsMode": "istio"}}]


class Webhooks:
    def __init__(self) -> None:
        self.root: Authority = new_root("cluster.local", now=datetime.now(UTC))
        self.trusted = self.root.roots_pem.decode()
        self.registry = CollectorRegistry()
        self.asked: list[Mapping[str, str]] = []
        certificate = ServingCertificate(
            lambda: self.root, lambda: self.root.roots, dns_names=(NAME,), protocols=("http/1.1",)
        )
        self.server = AdmissionServer(certificate.context, self.inject, self.registry)
        self.port = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def inject(self, request: AdmissionRequest, about: Mapping[str, str]) -> Verdict:
        self.asked.append(about)
        await self.gate.wait()
        if request.name == "bug":
            raise LookupError("a bug of ours")
        if request.name == "bad":
            return Verdict((problem("DRG0314", "metadata.annotations", "no"),))
        return Verdict() if request.name == "skipped" else Verdict(patch=PATCH)

    async def post(self, path: str, body: bytes, headers: Mapping[str, str] = JSON) -> tuple[int, bytes]:
        """One request on a connection of its own, by a client that trusts `trusted` and checks the Service's name."""
        context = ssl.create_default_context(cadata=self.trusted)
        async with (
            aiohttp.ClientSession() as client,
            client.post(
                f"https://127.0.0.1:{self.port}{path}",
                data=io.BytesIO(body),
                headers=headers,
                ssl=context,
                server_hostname=NAME,
            ) as answer,
        ):
            return answer.status, await answer.read()

    def metrics(self) -> str:
        return generate_latest(self.registry).decode()


@asynccontextmanager
async def listening() -> AsyncIterator[Webhooks]:
    webhooks = Webhooks()
    webhooks.port = await webhooks.server.start("127.0.0.1", 0)
    try:
        yield webhooks
    finally:
        await webhooks.server.stop()


@pytest.fixture
async def webhooks() -> AsyncIterator[Webhooks]:
    async with listening() as value:
        yield value


async def test_objects_are_judged_and_counted(webhooks: Webhooks) -> None:
    status, body = await webhooks.post("/validate?timeout=10s", review(virtual_service()))
    assert (status, response(body)["allowed"]) == (200, True)
    status, body = await webhooks.post("/validate?timeout=10s", review(virtual_service(http=BAD_ROUTE)))
    assert (status, response(body)["allowed"]) == (200, False)
    assert "spec.http[0].match[0].uri.regex" in response(body)["status"]["message"]
    await webhooks.post("/validate?timeout=10s", review(virtual_service(hosts=1)))
    labels = 'group="networking.istio.io",resource="virtualservices",version="v1"'
    failed = 'group="networking.istio.io",reason="{}",resource="virtualservices",version="v1"'
    metrics = webhooks.metrics()
    assert f"galley_validation_passed{{{labels}}} 1.0" in metrics
    assert f"galley_validation_failed{{{failed.format('invalid_resource')}}} 1.0" in metrics
    assert f"galley_validation_failed{{{failed.format('crd_conversion_error')}}} 1.0" in metrics


async def test_pods_are_patched_left_alone_or_refused_and_counted(webhooks: Webhooks) -> None:
    _, body = await webhooks.post("/inject?timeout=10s", review(pod("web-1")))
    assert response(body)["patch"] == PATCH
    _, body = await webhooks.post("/inject/cluster/c1/net/n1?timeout=10s", review(pod("skipped")))
    assert response(body) == {"uid": response(body)["uid"], "allowed": True}
    _, body = await webhooks.post("/inject", review(pod("bad")))
    assert response(body)["allowed"] is False
    assert webhooks.asked == [{}, {"ISTIO_META_CLUSTER_ID": "c1", "ISTIO_META_NETWORK": "n1"}, {}]
    metrics = webhooks.metrics()
    for line in (
        "sidecar_injection_requests_total 3.0",
        "sidecar_injection_success_total 1.0",
        "sidecar_injection_skip_total 1.0",
        "sidecar_injection_failure_total 1.0",
        "sidecar_injection_time_seconds_count 3.0",
    ):
        assert line in metrics


async def test_a_fault_of_ours_is_an_answer_and_no_http_error(webhooks: Webhooks) -> None:
    status, body = await webhooks.post("/inject", review(pod("bug")))
    assert status == 200
    said = response(body)
    assert (said["allowed"], said["status"]["message"][:7]) == (False, "DRG0701")
    assert "LookupError" not in str(said)


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/validate", b"{", JSON, 400),
        ("/inject", b"{", JSON, 400),
        ("/validate", b" " * (BODY_BYTES + 1), JSON, 400),
        ("/validate", review(virtual_service()), {"Content-Type": "text/plain"}, 415),
        ("/inject", review(virtual_service()).replace(b"v1", b"v2"), JSON, 400),
        ("/elsewhere", b"{}", JSON, 404),
    ],
    ids=["validate", "inject", "oversized", "content type", "version", "path"],
)
async def test_what_is_no_review_is_refused_with_the_callers_fault(
    webhooks: Webhooks, path: str, body: bytes, headers: Mapping[str, str], status: int
) -> None:
    assert (await webhooks.post(path, body, headers))[0] == status
    if path == "/validate":
        assert f'galley_validation_http_error{{status="{status}"}} 1.0' in webhooks.metrics()


async def test_a_changed_authority_counts_from_the_next_connection_on(webhooks: Webhooks) -> None:
    """And open connections go on: a webhook must not fail because certificates are renewed."""
    context = ssl.create_default_context(cadata=webhooks.trusted)
    url = f"https://127.0.0.1:{webhooks.port}/validate"
    async with aiohttp.ClientSession(headers=JSON) as old:

        async def ask() -> int:
            async with old.post(url, data=review(virtual_service()), ssl=context, server_hostname=NAME) as answer:
                await answer.read()
                return answer.status

        assert await ask() == 200
        webhooks.root = new_root("cluster.local", now=datetime.now(UTC))
        assert await ask() == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await webhooks.post("/validate", review(virtual_service()))
        webhooks.trusted = webhooks.root.roots_pem.decode()
        assert (await webhooks.post("/validate", review(virtual_service())))[0] == 200


async def test_a_client_that_names_no_server_and_one_that_would_speak_http_2_are_served(webhooks: Webhooks) -> None:
    context = ssl.create_default_context(cadata=webhooks.trusted)
    context.check_hostname = False
    context.set_alpn_protocols(["h2", "http/1.1"])
    reader, writer = await asyncio.open_connection("127.0.0.1", webhooks.port, ssl=context, server_hostname="")
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
    body = review(virtual_service())
    head = (
        f"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    writer.close()


async def test_many_pods_at_once_are_all_answered_one_in_each_turn_of_the_event_loop(webhooks: Webhooks) -> None:
    """So that streams get theirs in between."""
    context = ssl.create_default_context(cadata=webhooks.trusted)
    url = f"https://127.0.0.1:{webhooks.port}/inject"
    at_once: list[int] = []

    async def look() -> None:
        seen = 0
        while True:
            at_once.append(len(webhooks.asked) - seen)
            seen = len(webhooks.asked)
            await asyncio.sleep(0)

    async with aiohttp.ClientSession(headers=JSON, connector=aiohttp.TCPConnector(limit=100)) as client:
        looking = asyncio.create_task(look())

        async def ask(number: int) -> bytes:
            body = review(pod(f"web-{number}"))
            async with client.post(url, data=body, ssl=context, server_hostname=NAME) as answer:
                return await answer.read()

        answers: list[Any] = await asyncio.gather(*map(ask, range(500)))
        looking.cancel()
    assert all(response(each)["patch"] == PATCH for each in answers)
    assert max(at_once) == 1


async def test_who_has_given_up_is_not_decided_about(webhooks: Webhooks) -> None:
    webhooks.gate.clear()
    server, turn = webhooks.server._runner.server, webhooks.server._injecting
    assert server is not None
    first = asyncio.create_task(webhooks.post("/inject", review(pod("web-1"))))
    await _until(lambda: bool(webhooks.asked))
    late = asyncio.create_task(webhooks.post("/inject", review(pod("late"))))
    await _until(lambda: bool(turn._waiters))
    late.cancel()
    await _until(lambda: len(server.connections) == 1 and not turn._waiters)
    webhooks.gate.set()
    assert (await first)[0] == 200
    assert (await webhooks.post("/inject", review(pod("web-2"))))[0] == 200
    assert len(webhooks.asked) == 2


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


async def test_strangers_beyond_the_limit_are_sent_away(monkeypatch: pytest.MonkeyPatch, webhooks: Webhooks) -> None:
    monkeypatch.setattr(listener_module, "CONNECTIONS", 2)
    context = ssl.create_default_context(cadata=webhooks.trusted)
    held = [
        await asyncio.open_connection("127.0.0.1", webhooks.port, ssl=context, server_hostname=NAME) for _ in range(2)
    ]
    # Only what the server has seen counts.
    for reader, writer in held:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
    reader, writer = await asyncio.open_connection("127.0.0.1", webhooks.port, ssl=context, server_hostname=NAME)
    assert await reader.read() == b""
    for _, each in (*held, (reader, writer)):
        each.close()


async def test_a_failed_handshake_costs_nobody_else_anything(webhooks: Webhooks) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", webhooks.port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        await reader.read()
    writer.close()
    assert (await webhooks.post("/validate", review(virtual_service())))[0] == 200


async def test_stopping_answers_what_was_asked_and_frees_the_port() -> None:
    async with listening() as webhooks:
        assert (await webhooks.post("/validate", review(virtual_service())))[0] == 200
    with socket.socket() as again:
        # Connections that were closed from here first are remembered for a minute.
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", webhooks.port))


async def test_a_taken_port_is_said_to_be_taken(webhooks: Webhooks) -> None:
    other = AdmissionServer(lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), webhooks.inject)
    with pytest.raises(OSError, match="in use"):
        await other.start("127.0.0.1", webhooks.port)
