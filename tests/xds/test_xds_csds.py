"""The client status discovery service, asked with messages of Envoy's own schema."""

import asyncio
from typing import Any

import grpc
import pytest
from envoy_data_plane.envoy.config.core.v3 import Node as NodeMessage
from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryRequest
from envoy_data_plane.envoy.service.status.v3 import ClientStatusRequest
from envoy_data_plane.envoy.type.matcher.v3 import NodeMatcher, RegexMatcher, StringMatcher
from model_envoy import STATE
from test_xds_server import METHOD, read, request, serving, stream
from xds_recorder import Runtime
from xds_samples import changes, cluster, endpoints, secret, self_signed

from dragoman.codec import CLUSTER, ENDPOINT, SECRET, decode, encode, to_json
from dragoman.codec import from_json as wire
from xds import Peer, Refused, View

SERVICE = "/envoy.service.status.v3.ClientStatusDiscoveryService"
RESPONSE = "type.googleapis.com/envoy.service.status.v3.ClientStatusResponse"
REQUEST = "type.googleapis.com/envoy.service.discovery.v3.DeltaDiscoveryRequest"


def mesh() -> View:
    view = View("mesh", secret=True)
    view.apply(changes(cluster("a"), endpoints("a", 1), secret("cert", self_signed())))
    return view


async def ask(address: str, **fields: Any) -> dict[str, dict[str, Any]]:
    """The answer as JSON: node id → config."""
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(f"{SERVICE}/FetchClientStatus")
        async with asyncio.timeout(60):
            data = await call(encode(ClientStatusRequest(**fields)))
    return {each["node"]["id"]: each for each in to_json(RESPONSE, data).get("config", [])}


def resources(config: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(each["typeUrl"], each["name"]): each for each in config["genericXdsConfigs"]}


def delta(type_url: str, **fields: Any) -> bytes:
    return wire(REQUEST, {"typeUrl": type_url, **fields})


async def test_every_resource_with_what_became_of_it():
    view = mesh()
    async with serving(Runtime((view,))) as (_, recorder, address), stream(address) as call:
        await call.write(request("me"))
        first = await read(call)
        (sent,) = resources((await ask(address))["me"]).values()
        assert (sent["configStatus"], sent["clientStatus"]) == ("STALE", "REQUESTED")
        await call.write(request(response_nonce=first.nonce))
        await call.write(delta(ENDPOINT, resourceNamesSubscribe=["a", "lost"]))
        answer = await read(call)
        await call.write(delta(ENDPOINT, responseNonce=answer.nonce))
        await recorder.until_seen("acked", ENDPOINT)
        found = resources((await ask(address))["me"])
        assert found.keys() == {(CLUSTER, "a"), (ENDPOINT, "a"), (ENDPOINT, "lost")}
        acked = found[CLUSTER, "a"]
        assert (acked["configStatus"], acked["clientStatus"]) == ("SYNCED", "ACKED")
        assert acked["versionInfo"] == view.get((CLUSTER, "a")).version
        assert acked["xdsConfig"]["@type"] == CLUSTER
        assert acked["xdsConfig"]["name"] == "a"
        assert acked["lastUpdated"].startswith("20")
        lost = found[ENDPOINT, "lost"]
        assert (lost["configStatus"], lost["clientStatus"]) == ("SYNCED", "DOES_NOT_EXIST")
        assert "xdsConfig" not in lost


async def test_what_was_rejected_with_the_clients_words():
    view = mesh()
    async with serving(Runtime((view,))) as (_, recorder, address), stream(address) as call:
        await call.write(request("me"))
        nonce = (await read(call)).nonce
        await call.write(delta(CLUSTER, responseNonce=nonce, errorDetail={"message": "it is bad"}))
        await recorder.until_seen("nacked")
        found = resources((await ask(address))["me"])[CLUSTER, "a"]
        assert (found["configStatus"], found["clientStatus"]) == ("ERROR", "NACKED")
        assert found["errorState"]["details"] == "it is bad"
        assert found["errorState"]["versionInfo"] == view.wanted((CLUSTER, "a")).version


async def test_secrets_are_names_and_versions_only():
    async with serving(Runtime((mesh(),))) as (_, _, address), stream(address) as call:
        await call.write(wire(REQUEST, {"typeUrl": SECRET, "node": {"id": "me"}, "resourceNamesSubscribe": ["cert"]}))
        await read(call)
        found = (await ask(address))["me"]
        assert resources(found)[SECRET, "cert"].keys() >= {"versionInfo", "configStatus"}
        assert "xdsConfig" not in resources(found)[SECRET, "cert"]
        assert "PRIVATE" not in str(found)


@pytest.mark.parametrize(
    ("matchers", "expected"),
    [
        ([], {"web-1", "web-2", "cart"}),
        ([StringMatcher(exact="cart")], {"cart"}),
        ([StringMatcher(prefix="WEB", ignore_case=True)], {"web-1", "web-2"}),
        ([StringMatcher(suffix="-2"), StringMatcher(contains="ar")], {"web-2", "cart"}),
        ([StringMatcher(safe_regex=RegexMatcher(regex="web-[01]"))], {"web-1"}),
    ],
)
async def test_only_clients_that_match(matchers, expected):
    async with (
        serving(Runtime((mesh(),))) as (_, _, address),
        stream(address) as one,
        stream(address) as two,
        stream(address) as three,
    ):
        for call, name in ((one, "web-1"), (two, "web-2"), (three, "cart")):
            await call.write(request(name))
            await read(call)
        found = await ask(
            address, node_matchers=[NodeMatcher(node_id=each) for each in matchers], exclude_resource_contents=True
        )
        assert found.keys() == expected
        assert not any("xdsConfig" in each for config in found.values() for each in config["genericXdsConfigs"])


async def test_stream_answers_each_request():
    async with serving(Runtime((mesh(),))) as (_, _, address), stream(address, f"{SERVICE}/StreamClientStatus") as call:
        for _ in range(2):
            await call.write(encode(ClientStatusRequest()))
            assert decode(RESPONSE, await call.read()).config == []


async def test_others_than_those_allowed_are_turned_away():
    async def nobody(peer: Peer) -> None:
        raise Refused(grpc.StatusCode.PERMISSION_DENIED, f"not for {peer.address}")

    runtime = Runtime((mesh(),))
    async with serving(runtime, authorize=nobody) as (_, _, address):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await ask(address)
        assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
        async with stream(address, METHOD.replace("Delta", "Stream", 1)) as call:
            await call.write(encode(DiscoveryRequest(type_url="istio.io/debug/syncz", node=NodeMessage(id="tool"))))
            assert await call.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_garbage_is_refused():
    async with serving(Runtime(())) as (_, _, address), grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await channel.unary_unary(f"{SERVICE}/FetchClientStatus")(b"\xff\xff")
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_istios_tools_ask_over_ads():
    """`istioctl proxy-status` gets a ClientConfig for each proxy, with the state of each type."""
    sotw = METHOD.replace("Delta", "Stream", 1)
    runtime = Runtime((mesh(),))
    async with serving(runtime) as (_, recorder, address), stream(address) as proxy, stream(address, sotw) as tool:
        await proxy.write(request("me"))
        await proxy.write(request(response_nonce=(await read(proxy)).nonce))
        await recorder.until_seen("acked", CLUSTER)
        await tool.write(encode(DiscoveryRequest(type_url="istio.io/debug/syncz", node=NodeMessage(id="tool"))))
        async with asyncio.timeout(60):
            answer = to_json(STATE, await tool.read())
        assert answer["typeUrl"] == "istio.io/debug/syncz"
        (config,) = answer["resources"]
        assert config["@type"] == "type.googleapis.com/envoy.service.status.v3.ClientConfig"
        assert config["node"]["id"] == "me"
        found = {each["typeUrl"]: each["configStatus"] for each in config["genericXdsConfigs"]}
        assert found[CLUSTER] == "SYNCED"
        assert found[ENDPOINT] == "NOT_SENT"
        assert len(runtime.sessions) == 1, "a tool is no proxy"
