"""Where a command finds the control plane, and by which way: an API server that says what the tests want it to."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from dragoman.cli.addresses import HostPort
from dragoman.cli.debug_client import NoAnswerError
from dragoman.cli.inspect import replicas as module
from dragoman.cli.inspect.replicas import reached
from dragoman.cli.inspect.where import Where
from tests.cli.cli_runs import run
from tests.debug.debug_proxy import proxy_at
from tests.debug.running_plane import WEB, RunningPlane, running_plane
from tests.support.until import until

TOKEN = "of-the-debug-pages"  # noqa: S105


@asynccontextmanager
async def api_server_without_port_forwarding(
    folder: Path, pods: list[dict[str, object]], plane: RunningPlane | None = None
) -> AsyncIterator[Path]:
    """Its kubeconfig. Pods answer by its proxy, which reaches them from another machine; headers pass but for the
    credentials of the API server."""

    async def listed(request: web.Request) -> web.Response:
        assert request.query["labelSelector"].startswith("app=istiod")
        return web.json_response({"items": pods, "metadata": {}})

    async def forbidden(request: web.Request) -> web.Response:
        return web.json_response({"reason": "Forbidden", "message": "pods/portforward is forbidden"}, status=403)

    async def proxied(request: web.Request) -> web.Response:
        assert plane is not None
        headers = {key: value for key, value in request.headers.items() if key == "Dragoman-Debug-Token"}
        # Not a name of this machine: so the pages take the caller for one from elsewhere.
        headers["Host"] = "10.1.2.3"
        url = f"http://127.0.0.1:{plane.http_port}/{request.match_info['path']}?{request.query_string}"
        async with ClientSession() as session, session.get(url, headers=headers) as answer:
            return web.Response(status=answer.status, body=await answer.read())

    app = web.Application()
    app.router.add_get("/api/v1/namespaces/istio-system/pods", listed)
    app.router.add_get("/api/v1/namespaces/istio-system/pods/{pod}/portforward", forbidden)
    app.router.add_get("/api/v1/namespaces/istio-system/pods/{pod}:15014/proxy/{path:.*}", proxied)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    kubeconfig = folder / "kubeconfig"
    server = f"http://127.0.0.1:{runner.addresses[0][1]}"
    kubeconfig.write_text(
        json.dumps(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": {}}],
            }
        )
    )
    try:
        yield kubeconfig
    finally:
        await runner.cleanup()


def pod(name: str, phase: str = "Running", **metadata: str) -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": "istio-system", **metadata}, "status": {"phase": phase}}


async def test_by_the_api_servers_proxy_where_ports_cannot_be_forwarded(tmp_path: Path) -> None:
    folder = tmp_path / "mesh"
    folder.mkdir()
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    pods = [pod("istiod-0"), pod("old", deletionTimestamp="2026-01-01T00:00:00Z"), pod("new", phase="Pending")]
    async with running_plane(folder, token=TOKEN) as running, proxy_at(running.xds_port, WEB):
        await until(running.all_in_sync)
        async with api_server_without_port_forwarding(tmp_path, pods, running) as kubeconfig:
            where = ("--kubeconfig", str(kubeconfig))
            with_token = await asyncio.to_thread(run, "proxy-status", *where, "--token-file", str(token))
            without = await asyncio.to_thread(run, "proxy-status", *where)
            version = await asyncio.to_thread(run, "version", *where)
    assert [line.split()[0] for line in with_token.stdout.splitlines()] == ["NAME", "web-1.shop"]
    assert " istiod-0 " in with_token.stdout
    assert without.exit_code == 1
    assert "port 15014 cannot be forwarded" in without.stderr
    assert "the right to get and create pods/portforward in istio-system is what is needed" in without.stderr
    # What is open to all needs no token; who the proxies are is not.
    assert "control plane 0.1.0: istiod-0" in version.stdout
    assert "its proxies are not counted" in version.stderr


async def test_the_control_plane_of_this_machine_where_kubectls_cluster_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mesh"
    folder.mkdir()
    async with api_server_without_port_forwarding(tmp_path, []) as kubeconfig, running_plane(folder) as running:
        # As if it were in ~/.kube: nothing on the command line speaks of a cluster.
        monkeypatch.setattr(Where, "cluster_is_meant", property(lambda where: False))
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        monkeypatch.setattr(module, "DEBUG_ADDRESS", HostPort("127.0.0.1", running.http_port))
        async with reached(Where(kubeconfig=kubeconfig)) as found:
            assert [replica.name for replica in found.all] == [f"127.0.0.1:{running.http_port}"]
            assert found.cluster is None
        assert "no pod app=istiod runs in namespace istio-system" in capsys.readouterr().err
        monkeypatch.setattr(module, "DEBUG_ADDRESS", HostPort("127.0.0.1", 1))
        with pytest.raises(NoAnswerError, match="--http-address"):
            async with reached(Where(kubeconfig=kubeconfig)):
                pass


async def test_what_is_on_the_command_line_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mesh"
    folder.mkdir()
    async with api_server_without_port_forwarding(tmp_path, []) as kubeconfig, running_plane(folder) as running:
        monkeypatch.setattr(module, "DEBUG_ADDRESS", HostPort("127.0.0.1", running.http_port))
        with pytest.raises(NoAnswerError, match=r"no pod app=istiod,istio\.io/rev=canary"):
            async with reached(Where(kubeconfig=kubeconfig, revision="canary")):
                pass


def test_a_cluster_that_cannot_be_reached(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text("apiVersion: v1\nkind: Config\n")
    result = run("proxy-status", "--kubeconfig", str(kubeconfig))
    assert result.exit_code == 1
    assert "no cluster: " in result.stderr
