"""The bootstrap of an injected pod, run by a real Envoy as the kubelet would: with its variables, files and probes."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from injected_proxy import command, container, credentials, injected, pod_of

from ca import new_root
from ca.authority import pem
from dragoman.sidecar import EnvoyProcess, SocketAddress

pytestmark = pytest.mark.envoy


@dataclass
class Running:
    """An injected pod's Envoy: the pod, its address, what it said to the control plane."""

    pod: dict[str, Any]
    address: str
    loopback: str
    envoy: EnvoyProcess
    ads: Any

    async def get(self, path: str, port: int = 15020, **more: Any) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30)) as session,
            session.get(f"http://{self.address}:{port}{path}", **more) as response,
        ):
            return response.status, await response.text()

    async def until(self, path: str, status: int) -> None:
        """Wait until the kubelet would see this status: Envoy looks from time to time, and tells nobody."""
        async with asyncio.timeout(60):
            while (await self.get(path))[0] != status:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    def probe(self, name: str, of: str = "web") -> str:
        """The path at the sidecar of a probe of a container, or of a hook."""
        return str(container(self.pod, of)[name]["httpGet"]["path"])


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start(serve_ads, loopback, tmp_path: Path) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def run(pod: dict[str, Any], *, address: str | None = None) -> Running:
            server = credentials(tmp_path, "localhost")
            ads, xds = await serve_ads(at="localhost:0", credentials=server)
            local, address = loopback(), address or loopback()
            pod["metadata"]["annotations"] |= {"sidecar.istio.io/discoveryAddress": f"localhost:{xds.port}"}
            result = injected(pod).pod
            line = command(result, address=address, loopback=local, directory=tmp_path)
            process = EnvoyProcess(lambda _: line, {}, tmp_path / "envoy", SocketAddress(local, 15000))
            await stack.enter_async_context(process)
            await process.wait_live()
            return Running(result, address, local, process, ads)

        yield run


@pytest.fixture
async def application(loopback) -> AsyncIterator[Callable[..., Awaitable[tuple[str, int]]]]:
    """A web server that says what it was asked; `tls` for HTTPS with a certificate that nobody knows."""
    async with AsyncExitStack() as stack:

        async def serve(host: str, port: int, *, tls: ssl.SSLContext | None = None, handler: Any = None) -> None:
            async def echo(request: web.Request) -> web.Response:
                if request.path == "/sick":
                    return web.Response(status=503, text="sick")
                return web.json_response(
                    {
                        "path": request.path_qs,
                        "host": request.host,
                        "from": request.transport.get_extra_info("peername")[0],
                        "port": request.transport.get_extra_info("peername")[1],
                        "headers": {key.lower(): value for key, value in request.headers.items()},
                    }
                )

            app = web.Application()
            app.router.add_get("/{tail:.*}", handler or echo)
            runner = web.AppRunner(app)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, host, port, ssl_context=tls).start()

        yield serve


async def test_it_introduces_itself_with_what_the_kubelet_knows(start):
    running = await start(pod_of({"name": "web", "ports": [{"containerPort": 80, "name": "http"}]}))
    node = running.ads.nodes[0]
    assert node.id == f"sidecar~{running.address}~web-5d8f9-abcde.shop~shop.svc.cluster.local"
    assert node.cluster == "web.shop"
    metadata = dict(node.metadata.items())
    assert metadata["SERVICE_ACCOUNT"] == "web"
    assert metadata["NODE_NAME"] == "node-1"
    assert metadata["INSTANCE_IPS"] == running.address
    assert metadata["WORKLOAD_NAME"] == "web"
    assert metadata["OWNER"] == "kubernetes://apis/apps/v1/namespaces/shop/deployments/web"
    assert await running.ads.opened.get() == "Bearer token-of-web"
    assert (await running.get("/healthz/ready", 15021))[0] == 200
    assert "envoy_server_live" in (await running.get("/stats/prometheus", 15090))[1]


async def test_http_probes_reach_the_application_as_the_kubelets_would(start, application):
    running = await start(
        pod_of(
            {
                "name": "web",
                "ports": [{"name": "http", "containerPort": 8080}],
                "readinessProbe": {"httpGet": {"path": "ready?deep=1", "port": "http"}},
                "livenessProbe": {
                    "httpGet": {"path": "/live", "port": 8080, "httpHeaders": [{"name": "Host", "value": "web:81"}]}
                },
                "startupProbe": {"httpGet": {"path": "/sick", "port": 8080}},
                "lifecycle": {"preStop": {"httpGet": {"path": "/bye", "port": 8080}}},
            }
        )
    )
    assert (await running.get(running.probe("readinessProbe")))[0] == 503  # nobody listens yet
    await application(running.address, 8080)
    async with aiohttp.ClientSession() as session:
        url = f"http://{running.address}:15020{running.probe('readinessProbe')}"
        async with session.get(url, headers={"User-Agent": "kube-probe/1.36"}) as response:
            seen = await response.json()
    assert seen["path"] == "/ready?deep=1"
    assert seen["host"] == f"{running.address}:8080"
    assert seen["from"] == "127.0.0.6"  # by which the capture knows that it is not to be captured again
    again = await running.get(running.probe("readinessProbe"))
    assert json.loads(again[1])["port"] != seen["port"]  # a connection for each probe, as the kubelet's
    assert seen["headers"]["user-agent"] == "kube-probe/1.36"
    assert not [name for name in seen["headers"] if name.startswith("x-envoy")]
    status, text = await running.get(running.probe("livenessProbe"), headers={"Host": "web:81"})
    assert status == 200
    assert '"host": "web:81"' in text
    assert (await running.get(running.probe("startupProbe")))[0] == 503
    hook = container(running.pod, "web")["lifecycle"]["preStop"]["httpGet"]
    assert '"path": "/bye"' in (await running.get(hook["path"], hook["port"]))[1]
    assert (await running.get("/app-health/web/other"))[0] == 404


async def test_https_probes_do_not_verify(start, application, tmp_path):
    pod = pod_of({"name": "web", "readinessProbe": {"httpGet": {"path": "/", "port": 8443, "scheme": "HTTPS"}}})
    running = await start(pod)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path))
    await application(running.address, 8443, tls=context)
    assert (await running.get(running.probe("readinessProbe")))[0] == 200


def self_signed(directory: Path) -> Path:
    """A certificate that nobody trusts, with its key."""
    now, key = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1())
    chain = pem([new_root("elsewhere", now=now).sign(key.public_key(), dns_names=["nobody"], now=now)])
    file = directory / "self.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + chain)
    return file


async def test_tcp_probes_tell_whether_somebody_listens(start):
    running = await start(pod_of({"name": "web", "livenessProbe": {"tcpSocket": {"port": 7000}, "periodSeconds": 1}}))
    path = running.probe("livenessProbe")
    assert (await running.get(path))[0] == 503
    said: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(listen, running.address, 7000)
    await running.until(path, 200)
    server.close()
    await server.wait_closed()
    await running.until(path, 503)
    assert set(said) <= {b""}  # it connects and leaves


async def test_grpc_probes_speak_the_health_protocol(start):
    running = await start(
        pod_of({"name": "web", "readinessProbe": {"grpc": {"port": 7001, "service": "shop"}, "periodSeconds": 1}})
    )
    path = running.probe("readinessProbe")
    serving, asked = [b"\x08\x01"], []  # HealthCheckResponse: SERVING is 1, NOT_SERVING 2

    async def check(request: bytes, _: Any) -> bytes:
        asked.append(request)
        return serving[0]

    handler = grpc.unary_unary_rpc_method_handler(check)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler}),)
    )
    server.add_insecure_port(f"{running.address}:7001")
    await server.start()
    await running.until(path, 200)
    assert set(asked) == {b"\x0a\x04shop"}
    serving[0] = b"\x08\x02"
    await running.until(path, 503)
    await server.stop(0)


async def test_one_scrape_has_the_metrics_of_both(start, application):
    running = await start(
        pod_of(annotations={"prometheus.io/scrape": "true", "prometheus.io/port": "9100", "prometheus.io/path": "/m"})
    )
    annotations = running.pod["metadata"]["annotations"]
    path, port = annotations["prometheus.io/path"], int(annotations["prometheus.io/port"])
    status, text = await running.get(path, port)
    assert status == 200
    assert "envoy_server_live" in text
    assert "apples" not in text  # no application yet: its own metrics are there all the same

    async def metrics(request: web.Request) -> web.Response:
        assert request.path == "/m"
        return web.Response(text="apples_total 3\n" + "".join(f'pears{{n="{n}"}} 1\n' for n in range(100_000)))

    await application(running.address, 9100, handler=metrics)
    status, text = await running.get(path, port)
    assert status == 200
    assert "envoy_server_live" in text
    assert "\napples_total 3\n" in text
    assert text.endswith('pears{n="99999"} 1\n')


async def test_the_kubelet_drains_it_and_nobody_else(start):
    running = await start(pod_of())
    assert (await running.get("/drain"))[0] == 404
    assert (await running.get("/drain/guess"))[0] == 404
    assert (await running.get("/quitquitquit"))[0] == 404
    hook = container(running.pod)["lifecycle"]["preStop"]["httpGet"]
    before = await running.envoy.admin.statistics("http.readiness.downstream_cx_drain_close|listener_manager.total")
    assert (await running.get(hook["path"], hook["port"]))[0] == 200
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{running.address}:15021/healthz/ready") as response,
    ):
        assert response.status == 200
        assert response.headers["Connection"] == "close"
    assert before["listener_manager.total_listeners_draining"] == 0
    assert running.envoy.exit_code is None


async def test_a_sidecar_that_is_no_native_one_lives_on_while_clients_leave(start):
    annotations = {
        "sidecar.istio.io/nativeSidecar": "false",
        "proxy.istio.io/config": "terminationDrainDuration: 3s",
    }
    running = await start(pod_of(annotations=annotations))
    hook = container(running.pod)["lifecycle"]["preStop"]["httpGet"]
    began = asyncio.get_running_loop().time()
    asked = asyncio.ensure_future(running.get(hook["path"], hook["port"]))
    async with asyncio.timeout(60):  # it drains at once, before the hook is answered
        while True:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://{running.address}:15021/healthz/ready") as response,
            ):
                if response.headers.get("Connection") == "close":
                    break
    assert not asked.done()
    assert (await asked)[0] == 200
    assert asyncio.get_running_loop().time() - began >= 2.9


async def test_the_application_may_end_it(start):
    """As Jobs do whose sidecar is no native one (Istio: POST /quitquitquit at loopback)."""
    running = await start(pod_of())
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{running.loopback}:15020/quitquitquit") as response,
    ):
        assert response.status == 200
    assert await asyncio.wait_for(running.envoy.wait(), 60) == 0


async def test_every_setting_of_the_annotations_is_taken_by_envoy(start):
    running = await start(
        pod_of(
            annotations={
                "sidecar.istio.io/logLevel": "warn",
                "sidecar.istio.io/componentLogLevel": "upstream:debug,misc:error",
                "sidecar.istio.io/statsInclusionPrefixes": "cluster.outbound",
                "sidecar.istio.io/statsInclusionSuffixes": "upstream_rq_timeout",
                "sidecar.istio.io/statsInclusionRegexps": "http\\.(a|b)\\$x.*",
                "sidecar.istio.io/statsHistogramBuckets": '{"istio": [1, 5, 10]}',
                "sidecar.istio.io/statsHistogramBins": '{"cluster": 50}',
                "sidecar.istio.io/statsFlushInterval": "7s",
                "sidecar.istio.io/statsEvictionInterval": "14s",
                "proxy.istio.io/config": "{concurrency: 1, drainDuration: 3s, runtimeValues: {a.b: '7'}}",
            }
        )
    )
    dump = await running.envoy.admin.config_dump()
    started = dump["configs"][0]["bootstrap"]
    assert started["stats_flush_interval"] == "7s"
    assert started["stats_eviction_interval"] == "14s"
    patterns = started["stats_config"]["stats_matcher"]["inclusion_list"]["patterns"]
    assert {"safe_regex": {"regex": "http\\.(a|b)\\$x.*"}} in patterns
    info = await running.envoy.admin.get("/server_info")
    assert '"concurrency": 1' in info
    assert '"drain_time": "3s"' in info
    assert "a.b" in await running.envoy.admin.get("/runtime")
