"""`proxy-status` and `proxy-config` against a running control plane."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import yaml
from typer.testing import Result

from dragoman.cli.inspect import config_tables
from dragoman.cli.inspect.config_dump import resource as resource_of
from dragoman.codec import SECRET
from tests.cli.cli_runs import run
from tests.debug.debug_proxy import DebugProxy, proxy_at
from tests.debug.running_plane import CART, CLUSTER_OF_WEB, MESH, WEB, RunningPlane, running_plane
from tests.debug.test_debug_secrecy import GATEWAY, secrets
from tests.support.until import until


@asynccontextmanager
async def two_proxies(folder: Path) -> AsyncIterator[tuple[RunningPlane, DebugProxy]]:
    async with (
        running_plane(folder) as running,
        proxy_at(running.xds_port, WEB) as web,
        proxy_at(running.xds_port, CART),
    ):
        await until(running.all_in_sync)
        yield running, web


async def asked(running: RunningPlane, *arguments: str) -> Result:
    """The command runs in a thread: the pages it asks are served by this one."""
    return await asyncio.to_thread(run, *arguments, "--http-address", f"127.0.0.1:{running.http_port}")


def lines(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [line.rstrip() for line in result.stdout.splitlines()]


async def test_status_of_all_proxies_as_a_table(tmp_path: Path) -> None:
    async with two_proxies(tmp_path) as (running, _):
        table = lines(await asked(running, "proxy-status"))
        one = lines(await asked(running, "ps", "web"))
        as_json = json.loads((await asked(running, "ps", "-o", "json")).output)
    at = f"127.0.0.1:{running.http_port}"
    shared = ["Kubernetes", *["SYNCED"] * 4, "IGNORED", "SYNCED", at, "envoy 0.0.0"]
    assert [re.split(r"\s{2,}", line) for line in table] == [
        ["NAME", "CLUSTER", "CDS", "LDS", "EDS", "RDS", "ECDS", "SDS", "ISTIOD", "VERSION"],
        ["cart-1.shop", *shared],
        ["web-1.shop", *shared],
    ]
    assert len(one) == 2
    assert [entry["proxy"] for entry in as_json] == ["cart-1.shop", "web-1.shop"]


async def test_a_proxy_that_rejected_something_stands_out(tmp_path: Path) -> None:
    async with (
        running_plane(tmp_path) as running,
        proxy_at(running.xds_port, WEB),
        proxy_at(running.xds_port, CART) as cart,
    ):
        await until(running.all_in_sync)
        # Good elsewhere, so it is this proxy alone that does without it.
        cart.refuse(CLUSTER_OF_WEB, "no room")
        (tmp_path / "mesh.yaml").write_text((tmp_path / "mesh.yaml").read_text().replace("3s", "4s"))

        async def rejected() -> bool:
            statuses = await running.ask("/debug/syncz")
            return any(status["types"]["cds"]["rejected"] for status in statuses)

        await until(rejected)
        table = lines(await asked(running, "proxy-status"))
    assert any("ERROR" in line for line in table if line.startswith("cart-1.shop"))
    assert not any("ERROR" in line for line in table if line.startswith("web-1.shop"))
    (told,) = [line for line in table if line.startswith("CDS ") and "no room" in line]
    assert told.startswith(f"CDS {CLUSTER_OF_WEB!r} is not at cart-1.shop: ")


async def test_a_proxy_that_lacks_a_credential_stands_out(tmp_path: Path) -> None:
    async with (
        running_plane(tmp_path, MESH + secrets("no key", "no certificate")) as running,
        proxy_at(running.xds_port, WEB),
        proxy_at(running.xds_port, GATEWAY) as gateway,
    ):
        await gateway.ask(SECRET, ["kubernetes://site"])
        await until(running.all_in_sync)
        table = lines(await asked(running, "proxy-status"))
    of_secrets = {
        line.split()[0]: line.split()[7] for line in table if line.startswith(("gateway-1.shop", "web-1.shop"))
    }
    assert of_secrets == {"gateway-1.shop": "LACKING", "web-1.shop": "SYNCED"}
    (told,) = [line for line in table if line.startswith("SDS ")]
    assert told.startswith("SDS 'kubernetes://site' is not at gateway-1.shop: error DRG0502 data[tls.crt]: ")


async def test_what_is_held_back_from_all_stands_out_at_each_and_is_said_once(tmp_path: Path) -> None:
    bad = {CLUSTER_OF_WEB: "not like this"}
    async with (
        running_plane(tmp_path) as running,
        proxy_at(running.xds_port, WEB, rejects=bad),
        proxy_at(running.xds_port, CART, rejects=bad),
    ):
        await until(running.all_in_sync)
        table = lines(await asked(running, "proxy-status"))
    assert [line.split()[2] for line in table if line.startswith(("cart-1.shop", "web-1.shop"))] == ["ERROR"] * 2
    (told,) = [line for line in table if line.startswith("CDS ") and "not like this" in line]
    assert told.startswith(f"CDS {CLUSTER_OF_WEB!r} is not at cart-1.shop and 1 more: ")


async def test_clusters_as_a_table_and_as_envoy_has_them(tmp_path: Path) -> None:
    async with two_proxies(tmp_path) as (running, web):
        result = await asked(running, "proxy-config", "clusters", "web-1.shop")
        table = lines(result)
        as_json = json.loads((await asked(running, "pc", "clusters", "web", "-o", "json")).stdout)
        as_yaml = yaml.safe_load((await asked(running, "pc", "clusters", "web", "-o", "yaml")).stdout)
    assert table == [
        "SERVICE FQDN                PORT  SUBSET  DIRECTION  TYPE          DESTINATION RULE",
        "-                           8080  -       inbound    ORIGINAL_DST",
        "BlackHoleCluster            -     -       -          STATIC",
        "InboundPassthroughCluster   -     -       -          ORIGINAL_DST",
        "PassthroughCluster          -     -       -          ORIGINAL_DST",
        "web.shop.svc.cluster.local  8080  -       outbound   EDS           web.shop",
    ]
    assert as_json == as_yaml
    assert {cluster["name"] for cluster in as_json} == set(
        web.held["type.googleapis.com/envoy.config.cluster.v3.Cluster"]
    )


async def test_endpoints_and_secrets_and_routes_as_tables(tmp_path: Path) -> None:
    async with two_proxies(tmp_path) as (running, _):
        endpoints = lines(await asked(running, "pc", "endpoints", "web"))
        routes = lines(await asked(running, "pc", "routes", "web"))
        secrets = lines(await asked(running, "pc", "secrets", "web"))
        listeners = lines(await asked(running, "pc", "listeners", "web"))
    assert endpoints == [
        "ENDPOINT       STATUS   OUTLIER CHECK  CLUSTER                                    LOCALITY  WEIGHT",
        "10.1.0.1:8080  HEALTHY  -              outbound|8080||web.shop.svc.cluster.local  r/z       1",
    ]
    assert [re.split(r"\s{2,}", line) for line in routes] == [
        ["NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE", "DESTINATION"],
        ["8080", "allow_any", "*", "/*", "PassthroughCluster"],
        [
            "8080",
            "web.shop.svc.cluster.local:8080",
            "web.shop.svc.cluster.local, web.shop.svc.cluster.local. + 4 more",
            "/*",
            "web.shop",
            CLUSTER_OF_WEB,
        ],
    ]
    assert [line.split()[0] for line in secrets[1:]] == ["ROOTCA", "default"]
    assert all(" true " in line for line in secrets[1:])
    assert listeners[0].split() == ["ADDRESSES", "PORT", "MATCH", "DESTINATION"]
    assert any("15006" in line and "Port: 8080" in line for line in listeners)
    assert any("8080" in line and "Route: 8080" in line for line in listeners)


async def test_a_name_that_no_proxy_has(tmp_path: Path) -> None:
    async with two_proxies(tmp_path) as (running, _):
        result = await asked(running, "proxy-config", "clusters", "nobody")
    assert result.exit_code == 1
    assert "no connected proxy 'nobody'; there are cart-1.shop, web-1.shop" in result.output


def rows(section: str, resource: dict[str, object]) -> list[tuple[str, ...]]:
    return list(config_tables.TABLES[section].rows(resource_of(resource).entry))


def test_destinations_of_routes() -> None:
    weighted = {"clusters": [{"name": "a", "weight": 90}, {"name": "b", "weight": 10}]}
    host = {
        "name": "h",
        "domains": ["*"],
        "routes": [
            {"match": {"path": "/x"}, "redirect": {}},
            {"match": {"safeRegex": {"regex": ".*"}}, "directResponse": {"status": 503}},
            {
                "match": {"pathSeparatedPrefix": "/a", "headers": [{"name": "end-user"}]},
                "route": {"weightedClusters": weighted},
            },
        ],
    }
    assert [row[3:] for row in rows("routes", {"name": "80", "virtualHosts": [host]})] == [
        ("/x", "", "redirect"),
        ("regex .*", "", "status 503"),
        ("/a/* [end-user]", "", "a (90), b (10)"),
    ]


def test_matches_and_destinations_of_listeners() -> None:
    proxy = {"typedConfig": {"cluster": "c"}}
    listener = {
        "name": "l",
        "address": {"socketAddress": {"address": "10.0.0.1", "portValue": 443}},
        "filterChains": [
            {
                "filterChainMatch": {
                    "serverNames": ["a.b"],
                    "prefixRanges": [{"addressPrefix": "10.0.0.0", "prefixLen": 8}],
                    "transportProtocol": "tls",
                    "applicationProtocols": ["h2"],
                },
                "filters": [{"name": "other", "typedConfig": {}}, proxy],
            }
        ],
        "defaultFilterChain": {"filters": [{"typedConfig": {"routeConfig": {"name": "r"}}}]},
    }
    assert rows("listeners", listener) == [
        ("10.0.0.1", "443", "Addr: 10.0.0.0/8; SNI: a.b; Trans: tls; App: h2", "Cluster: c"),
        ("10.0.0.1", "443", "ALL", "Inline Route: r"),
    ]
