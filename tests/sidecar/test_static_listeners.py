"""What a kubelet, a Prometheus and a preStop hook meet at the static listeners of a real Envoy."""

import aiohttp
import pytest
from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog
from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    Route,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.access_loggers.stats.v3 import Config, ConfigCounter, ConfigStat, ConfigTag
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpFilter,
)
from envoy_data_plane.envoy.type.v3 import Scope

from dragoman.codec import Encoded, pack
from dragoman.sidecar import ControlPlane, SocketAddress
from tests.support.until import until

pytestmark = pytest.mark.envoy


async def request(method: str, address: SocketAddress, path: str) -> tuple[int, str, dict[str, str]]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"http://{address}{path}") as response,
    ):
        return response.status, await response.text(), dict(response.headers)


def application(address: SocketAddress, body: str = "hello") -> Encoded:
    """A listener that answers `body` and counts its requests as Istio does."""
    counter = ConfigCounter(
        stat=ConfigStat(
            name="istio_requests_total",
            tags=[
                ConfigTag(name="reporter", value_format="destination"),
                ConfigTag(name="path", value_format="%REQ(:path)%"),
            ],
        ),
        value_fixed=1,
    )
    log = AccessLog(
        name="envoy.access_loggers.stats", typed_config=pack(Config(stats_scope=Scope(), counters=[counter]))
    )
    answer = Route(
        match=RouteMatch(prefix="/"),
        direct_response=DirectResponseAction(status=200, body=DataSource(inline_string=body)),
    )
    manager = HttpConnectionManager(
        stat_prefix="application",
        access_log=[log],
        route_config=RouteConfiguration(virtual_hosts=[VirtualHost(name="all", domains=["*"], routes=[answer])]),
        http_filters=[HttpFilter(name="envoy.filters.http.router", typed_config=pack(Router()))],
    )
    network_filter = Filter(name="envoy.filters.network.http_connection_manager", typed_config=pack(manager))
    return Encoded.of(
        Listener(name="application", address=address.to_envoy(), filter_chains=[FilterChain(filters=[network_filter])])
    )


@pytest.fixture
async def live(parameters, serve_ads, start_envoy):
    """A live Envoy with an application listener at port 8080; yields its bootstrap parameters and its process."""
    chosen = parameters()
    _, address = await serve_ads(application(SocketAddress(chosen.addresses.admin.host, 8080)))
    chosen = parameters(node=chosen.node, addresses=chosen.addresses, control_plane=ControlPlane(address))
    envoy = await start_envoy(chosen)
    await envoy.wait_live()
    return chosen, envoy


async def test_not_ready_before_the_control_plane_spoke(parameters, start_envoy):
    chosen = parameters()
    envoy = await start_envoy(chosen)
    await envoy.wait_started()
    assert await envoy.admin.state() == "PRE_INITIALIZING"
    with pytest.raises(aiohttp.ClientConnectionError):
        await request("GET", chosen.addresses.readiness, "/healthz/ready")


async def test_ready_once_live(live):
    chosen, _ = live
    status, text, _ = await request("GET", chosen.addresses.readiness, "/healthz/ready")
    assert (status, text.strip()) == (200, "LIVE")


async def test_unready_when_told_to_fail(live):
    chosen, envoy = live
    await envoy.admin.post("/healthcheck/fail")
    status, text, _ = await request("GET", chosen.addresses.readiness, "/healthz/ready")
    assert (status, text.strip()) == (503, "DRAINING")


async def test_metrics_have_istio_names(live):
    chosen, _ = live
    await request("GET", SocketAddress(chosen.addresses.admin.host, 8080), "/a")

    async def counted() -> bool:  # which is done after the answer
        return "istio_requests_total" in (await request("GET", chosen.addresses.prometheus, "/stats/prometheus"))[1]

    await until(counted)
    status, text, headers = await request("GET", chosen.addresses.prometheus, "/stats/prometheus")
    assert status == 200
    assert 'istio_requests_total{reporter="destination",path="/a"} 1' in text
    assert "envoy_istio" not in text
    assert "envoy_server_live" in text
    assert headers["Content-Type"].startswith("text/plain")


async def test_a_scrape_larger_than_envoys_default_buffer(live):
    chosen, _ = live
    async with aiohttp.ClientSession() as session:
        for number in range(800):
            path = f"/{number:04}/{'x' * 2000}"
            async with session.get(f"http://{chosen.addresses.admin.host}:8080{path}") as response:
                assert response.status == 200

    async def scraped() -> int:
        status, text, _ = await request("GET", chosen.addresses.prometheus, "/stats/prometheus")
        assert status == 200
        assert len(text) > 1024 * 1024
        return text.count("\nistio_requests_total{")

    async def all_counted() -> bool:  # the last one is after its answer
        return await scraped() == 800

    await until(all_counted)


async def test_the_rest_of_admin_stays_hidden(live):
    chosen, _ = live
    for listener in ("readiness", "prometheus", "lifecycle"):
        for path in ("/", "/config_dump", "/stats/prometheus/", "/ready", "/certs", "/drain_listeners"):
            status, text, _ = await request("GET", getattr(chosen.addresses, listener), path)
            assert (status, text) == (404, ""), (listener, path)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_drain_asks_clients_to_leave_and_still_serves(live, method):
    chosen, envoy = live
    app = SocketAddress(chosen.addresses.admin.host, 8080)
    _, _, headers = await request("GET", app, "/")
    assert headers.get("Connection") != "close"

    status, text, _ = await request(method, chosen.addresses.lifecycle, "/drain")
    assert (status, text.strip()) == (200, "OK")

    status, text, headers = await request("GET", app, "/")
    assert (status, text) == (200, "hello")
    assert headers["Connection"] == "close"
    assert envoy.exit_code is None
    assert (await envoy.admin.statistics("total_listeners_active"))["listener_manager.total_listeners_active"] == 4


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_quit_ends_envoy_by_itself(live, method):
    chosen, envoy = live
    status, text, _ = await request(method, chosen.addresses.lifecycle, "/quitquitquit")
    assert (status, text) == (200, "OK\n")  # who runs with `set -e` relies on an answer
    assert await envoy.wait() == 0


async def test_a_second_proxy_on_the_same_address_is_refused_not_mixed_in(live, parameters, start_envoy):
    """By Envoy's default (reuse_port) both would start and share the connections."""
    chosen, _ = live
    elsewhere = parameters().addresses
    same_readiness = type(elsewhere)(
        elsewhere.admin, chosen.addresses.readiness, elsewhere.prometheus, elsewhere.lifecycle
    )
    second = await start_envoy(parameters(addresses=same_readiness))
    assert await second.wait() != 0
    assert str(chosen.addresses.readiness) in second.log_tail()


async def test_two_proxies_on_loopback_addresses_of_their_own(live, parameters, start_envoy):
    _, first = live
    second = await start_envoy(parameters())
    await second.wait_started()
    mine, theirs = await first.admin.listening(), await second.admin.listening()
    assert (len(mine), len(theirs)) == (4, 3)
    assert not mine & theirs
