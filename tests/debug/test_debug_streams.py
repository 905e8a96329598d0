"""What the pages say about streams."""

from pathlib import Path

from dragoman.debug import streams
from tests.debug.debug_proxy import proxy_at
from tests.debug.running_plane import CART, CLUSTER_OF_WEB, WEB, running_plane
from tests.support.until import until


async def test_a_proxy_in_sync_has_accepted_the_nonces_it_was_sent(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as running:
        assert await running.ask("/debug/syncz") == []
        async with proxy_at(running.xds_port, WEB, CLUSTER_ID="east", ISTIO_VERSION="1.26.0"):
            await until(running.all_in_sync)
            (status,) = await running.ask("/debug/syncz")
    assert {name: status[name] for name in ("cluster_id", "proxy", "proxy_type", "istio_version")} == {
        "cluster_id": "east",
        "proxy": "web-1.shop",
        "proxy_type": "sidecar",
        "istio_version": "1.26.0",
    }
    for name in ("cluster", "listener", "route", "endpoint"):
        assert status[f"{name}_sent"] == status[f"{name}_acked"] != ""
    assert set(status["types"]) == {"cds", "eds", "lds", "rds", "sds"}
    assert all(type_["acked"] >= 1 and type_["rejected"] == 0 for type_ in status["types"].values())


async def test_a_rejection_shows_envoys_words_and_the_objects_to_blame(tmp_path: Path) -> None:
    async with (
        running_plane(tmp_path) as running,
        proxy_at(running.xds_port, WEB, rejects={CLUSTER_OF_WEB: "I do not like it"}),
    ):
        nacks = await running.ask("/debug/nackz")
        (status,) = await running.ask("/debug/syncz")
    rejection = nacks["rejections"][0]
    assert (rejection["proxies"], rejection["type"]) == (["web-1.shop"], "cds")
    assert "I do not like it" in rejection["message"]
    (resource,) = rejection["resources"]
    assert resource["name"] == CLUSTER_OF_WEB
    made_from = {entry["object"]: entry["at"] for entry in resource["madeFrom"]}
    mesh = tmp_path / "mesh.yaml"
    assert made_from.keys() >= {"DestinationRule shop/web", "Service shop/web"}
    assert made_from["DestinationRule shop/web"] == f"{mesh}:{line_of(mesh, 'kind: DestinationRule') - 1}"
    assert "VirtualService shop/web" not in made_from
    assert next(iter(made_from)) == "DestinationRule shop/web", "what operators write comes first"
    entries = {(entry["type"], entry["name"]): entry for entry in nacks["heldBack"]}
    held_back = entries.pop(("cds", CLUSTER_OF_WEB))
    assert all(entry["because"].startswith("it needs ") for entry in entries.values())
    assert "I do not like it" in held_back["because"]
    assert held_back["version"] == resource["version"] != ""
    assert held_back["rejectedBy"] == ["web-1.shop"]
    assert held_back["since"] <= rejection["time"]
    assert held_back["madeFrom"] == resource["madeFrom"]
    assert held_back["servedInstead"] is None
    assert nacks["refused"] == []
    assert status["types"]["cds"]["rejected"] == 1
    assert status["types"]["cds"]["inSync"]
    assert "I do not like it" in status["types"]["cds"]["heldBack"][CLUSTER_OF_WEB]


def line_of(file: Path, text: str) -> int:
    return next(number for number, line in enumerate(file.read_text().splitlines(), 1) if text in line)


async def test_connections_come_and_go(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as running:
        async with proxy_at(running.xds_port, WEB, LABELS={"app": "web"}), proxy_at(running.xds_port, CART):
            adsz = await running.ask("/debug/adsz")
            connections = await running.ask("/debug/connections")

        async def nobody() -> bool:
            return (await running.ask("/debug/connections"))["totalClients"] == 0

        await until(nobody)
    assert connections["totalClients"] == adsz["totalClients"] == 2
    cart, web = adsz["clients"]
    assert web["connectionId"].startswith("web-1.shop-")
    assert web["address"].startswith("ipv4:127.0.0.1:")
    assert web["labels"] == {"app": "web"}
    assert web["identity"].startswith("spiffe://cluster.local/ns/shop/sa/web")
    assert web["subscribed"]["cds"] == "*"
    assert cart["identity"].startswith("spiffe://cluster.local/ns/shop/sa/cart")
    assert [set(client) for client in connections["clients"]] == [{"connectionId", "connectedAt", "address"}] * 2


async def test_a_proxy_that_goes_while_a_page_is_made_is_shown_without_what_it_had(tmp_path: Path) -> None:
    async with (
        running_plane(tmp_path) as running,
        proxy_at(running.xds_port, CART),
        proxy_at(running.xds_port, WEB),
    ):
        shown = streams._connected(running.plane)
        first, session = next(shown)
        assert session is not None
        assert first.proxy == session.proxy_id == "cart-1.shop"
        for session in running.plane.sessions:
            if session.proxy_id == "web-1.shop":
                session.close()
                break
        second, gone = next(shown)
        assert (second.proxy, gone) == ("web-1.shop", None)
