# ruff: noqa: S311 - jitter is no secret
"""Bootstraps, as a real Envoy takes them."""

import asyncio
import json
import random
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import (
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
    TransportSocket,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.extensions.filters.network.echo.v3 import Echo
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CommonTlsContext,
    DownstreamTlsContext,
    SdsSecretConfig,
)

from ca import SpiffeId, WorkloadCertificates, WorkloadIdentity, new_root
from ca.authority import pem
from ca.secrets import root_secret, workload_secret
from dragoman.codec import Encoded, pack
from dragoman.sidecar import (
    ControlPlane,
    EnvoyProcess,
    SocketAddress,
    StaticAddresses,
    Tls,
    Token,
    UnixSocket,
    argv,
    find_envoy,
    render,
    token_secret,
)
from dragoman.sidecar.control_plane import SERVER_NAME
from dragoman.sidecar.statistics import Statistics
from tests.support.revocations import revocations


def credentials(directory: Path) -> tuple[Tls, Token, grpc.ServerCredentials]:
    """A root and a token on disk as Kubernetes mounts them, and a server certificate under that root."""
    now = datetime.now(UTC)
    root = new_root("cluster.local", now=now)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = root.sign(key.public_key(), dns_names=[SERVER_NAME], now=now)
    tokens = directory / "tokens"
    (tokens / "..1").mkdir(parents=True)
    (tokens / "..1" / "token").write_text("first")
    (tokens / "..data").symlink_to("..1")
    (tokens / "token").symlink_to("..data/token")
    (directory / "root.pem").write_bytes(root.roots_pem)
    token = Token(str(tokens / "token"), str(directory / "token.json"))
    (directory / "token.json").write_text(json.dumps(token_secret(token)))
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Tls(str(directory / "root.pem")), token, grpc.ssl_server_credentials([(key_pem, pem([certificate]))])


@pytest.mark.envoy
@pytest.mark.parametrize("protocol", ["delta", "sotw"])
@pytest.mark.parametrize("way", ["tcp", "ipv6", "dns", "unix", "tls", "tls and token"])
def test_envoy_accepts_every_variant(parameters, tmp_path, protocol, way):
    tls, token, _ = credentials(tmp_path)
    control_plane = {
        "tcp": ControlPlane(SocketAddress("127.0.0.1", 15010)),
        "ipv6": ControlPlane(SocketAddress("::1", 15010)),
        "dns": ControlPlane(SocketAddress("istiod.istio-system.svc", 15010)),
        "unix": ControlPlane(UnixSocket("/run/dragoman/xds.sock")),
        "tls": ControlPlane(SocketAddress("127.0.0.1", 15012), tls),
        "tls and token": ControlPlane(SocketAddress("127.0.0.1", 15012), tls, token),
    }[way]
    chosen = parameters(
        control_plane=control_plane,
        protocol=protocol,
        statistics=Statistics(prefixes=("cluster.outbound",), buckets={"istio_request_duration": (1, 10, 100.5)}),
        runtime={"re2.max_program_size.warn_level": 16384},
    )
    config = tmp_path / "bootstrap.json"
    config.write_text(json.dumps(render(chosen)))
    result = subprocess.run(
        [*argv(find_envoy(), config), "--mode", "validate"], capture_output=True, text=True, timeout=240
    )
    assert result.returncode == 0, result.stderr
    assert "OK" in result.stdout
    assert "deprecated" not in result.stderr.lower()


def test_a_lost_stream_is_opened_again_within_seconds(parameters):
    """Envoy's own longest interval is 30 s: a mesh would lag behind its control plane for as long."""
    ads = render(parameters())["dynamicResources"]["adsConfig"]
    retry = ads["grpcServices"][0]["envoyGrpc"]["retryPolicy"]
    assert retry["retryBackOff"] == {"baseInterval": "0.500s", "maxInterval": "5s"}


def test_each_stream_takes_a_connection_of_its_own(parameters):
    """Else a stream that a replica sends away would come back to it: load balancers decide by connection."""
    (xds,) = (each for each in render(parameters())["staticResources"]["clusters"] if each["name"] == "xds-grpc")
    (options,) = xds["typedExtensionProtocolOptions"].values()
    assert options["commonHttpProtocolOptions"] == {"maxRequestsPerConnection": 1}


@pytest.mark.envoy
@pytest.mark.parametrize("protocol", ["delta", "sotw"])
async def test_live_over_a_unix_socket(parameters, serve_ads, start_envoy, tmp_path, protocol):
    ads, address = await serve_ads(at=f"unix:{tmp_path / 'xds.sock'}")
    envoy = await start_envoy(parameters(control_plane=ControlPlane(address), protocol=protocol))
    await envoy.wait_live()
    node = ads.nodes[0]
    assert node.id.endswith("~reviews-v1-abc.shop~shop.svc.cluster.local")
    assert node.cluster == "reviews.shop"
    assert node.metadata["WORKLOAD_NAME"] == "reviews-v1"
    assert len(ads.nodes) == 1  # the node is large: it goes with the first message only
    assert not ads.errors
    assert "warning" not in envoy.log_tail()


@pytest.mark.envoy
async def test_live_over_tls_with_a_token_that_rotates(parameters, serve_ads, start_envoy, tmp_path):
    tls, token, server = credentials(tmp_path)
    ads, address = await serve_ads(credentials=server)
    chosen = parameters(control_plane=ControlPlane(address, tls, token))
    envoy = await start_envoy(chosen)
    await envoy.wait_live()
    assert await ads.opened.get() == "Bearer first"

    # Kubernetes rotates by renaming a link to the directory.
    tokens = tmp_path / "tokens"
    (tokens / "..2").mkdir()
    (tokens / "..2" / "token").write_text("second")
    (tokens / "..new").symlink_to("..2")
    (tokens / "..new").rename(tokens / "..data")
    async with asyncio.timeout(60):
        ads.end_streams()
        while await ads.opened.get() != "Bearer second":  # Envoy may not have seen the rename yet
            ads.end_streams()


@pytest.mark.envoy
async def test_a_control_plane_of_another_name_is_not_trusted(parameters, serve_ads, start_envoy, tmp_path):
    tls, _, server = credentials(tmp_path)
    ads, address = await serve_ads(credentials=server)
    other = Tls(tls.root_file, "other.istio-system.svc")
    envoy = await start_envoy(parameters(control_plane=ControlPlane(address, other)))
    await envoy.wait_started()
    refusals = "cluster.xds-grpc.ssl.fail_verify_san"
    async with asyncio.timeout(60):
        while not (await envoy.admin.statistics(refusals)).get(refusals):  # noqa: ASYNC110 - statistics have no events
            await asyncio.sleep(0.02)
    assert ads.nodes == []


def test_a_token_never_travels_in_plaintext():
    token = Token("/token", "/token.json")
    with pytest.raises(ValueError, match="must not travel in plaintext"):
        ControlPlane(SocketAddress("10.0.0.1", 15010), token=token)
    ControlPlane(UnixSocket("/run/xds.sock"), token=token)


def test_the_file_of_the_token_secret_holds_no_token(tmp_path):
    _, token, _ = credentials(tmp_path)
    assert "first" not in json.dumps(token_secret(token))


def test_static_listeners_must_not_share_an_address():
    address = SocketAddress("127.0.0.1", 15000)
    with pytest.raises(ValueError, match="addresses of their own"):
        StaticAddresses(address, SocketAddress("127.0.0.1", 15021), SocketAddress("127.0.0.1", 15090), address)


def test_all_sockets_are_on_the_given_host(parameters):
    chosen = parameters(addresses=StaticAddresses.on("127.10.0.9", admin=1111, readiness=2222, prometheus=3333))
    text = json.dumps(render(chosen)["staticResources"]["listeners"] + [render(chosen)["admin"]])
    assert text.count('"address": "127.10.0.9"') == 4
    assert all(f'"portValue": {port}' in text for port in (1111, 2222, 3333, 15020))
    assert "0.0.0.0" not in text  # noqa: S104


def test_it_never_starts_without_configuration(parameters):
    dynamic = render(parameters())["dynamicResources"]
    assert dynamic["ldsConfig"]["initialFetchTimeout"] == dynamic["cdsConfig"]["initialFetchTimeout"] == "0s"


@pytest.mark.envoy
async def test_statistics_are_trimmed_to_istios_set(parameters, serve_ads, start_envoy):
    _, address = await serve_ads(Encoded.of(Cluster(name="outbound|80||a")), Encoded.of(Cluster(name="kept|80||b")))
    envoy = await start_envoy(
        parameters(control_plane=ControlPlane(address), statistics=Statistics(prefixes=("cluster.kept",)))
    )
    await envoy.wait_live()
    names = await envoy.admin.statistics(".")
    assert names["cluster_manager.active_clusters"] == 4
    assert names["listener_manager.total_listeners_warming"] == 0
    assert names["server.dynamic_unknown_fields"] == 0
    assert any(name.startswith("cluster.xds-grpc.upstream_cx") for name in names)
    assert any(name.startswith("cluster.kept") for name in names)
    assert not any(name.startswith("cluster.outbound") for name in names)
    assert len(names) < 600


@pytest.mark.envoy
async def test_envoy_serves_the_certificates_we_issue(parameters, serve_ads, start_envoy, tmp_path):
    """Both secrets over ADS; the peer is a TLS stack that is not ours, verifies us by name and stays connected."""
    identities = [
        WorkloadIdentity(SpiffeId("cluster.local", "shop", "reviews"), "reviews-v1"),
        WorkloadIdentity(SpiffeId("cluster.local", "shop", "client"), "client-v1"),
    ]
    certificates = WorkloadCertificates(
        new_root("cluster.local", now=datetime.now(UTC)), lambda: datetime.now(UTC), random.Random(1)
    )
    server, client = (certificates.acquire(identity, "test") for identity in identities)
    chosen = parameters()
    port = SocketAddress(chosen.addresses.admin.host, 8443)
    ads, address = await serve_ads(
        mutual_tls_listener(port), workload_secret(server), root_secret(certificates.roots_pem)
    )
    envoy = await start_envoy(parameters(addresses=chosen.addresses, control_plane=ControlPlane(address)))
    await envoy.wait_live()
    assert await loaded_serial(envoy) == server.serial

    context = ssl.create_default_context(cadata=certificates.roots_pem.decode())
    name = server.identity.dns_name
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
        await refusal(port, context, name)
    (tmp_path / "client.pem").write_bytes(client.key_pem + client.chain_pem)
    context.load_cert_chain(tmp_path / "client.pem")
    async with connection(port, context, name) as old:
        assert await old(b"before") == b"before"
        rotated = certificates.rotate(server.identity)
        await ads.push(workload_secret(rotated))
        async with asyncio.timeout(60):
            while await loaded_serial(envoy) != rotated.serial:  # noqa: ASYNC110 - Envoy tells nobody
                await asyncio.sleep(0.01)
        async with connection(port, context, name) as new:
            assert await new(b"anew") == b"anew"
        assert await old(b"after") == b"after"
    assert ads.errors == []
    counts = await envoy.admin.statistics("sds.default.update_")
    assert (counts["sds.default.update_success"], counts["sds.default.update_rejected"]) == (2, 0)


@pytest.mark.envoy
async def test_envoy_refuses_a_revoked_certificate(parameters, serve_ads, start_envoy, tmp_path):
    """And takes the others of the same CA."""
    now = datetime.now(UTC)
    root = new_root("cluster.local", now=now)
    certificates = WorkloadCertificates(root, lambda: now, random.Random(1))
    server, good, revoked = (
        certificates.acquire(WorkloadIdentity(SpiffeId("cluster.local", "shop", name), name), "test")
        for name in ("server", "good", "revoked")
    )
    crl = revocations(root, revoked.serial)
    chosen = parameters()
    port = SocketAddress(chosen.addresses.admin.host, 8443)
    _, address = await serve_ads(
        mutual_tls_listener(port),
        workload_secret(server),
        root_secret(root.roots_pem, crl.public_bytes(Encoding.PEM)),
    )
    envoy = await start_envoy(parameters(addresses=chosen.addresses, control_plane=ControlPlane(address)))
    await envoy.wait_live()
    for certificate in (good, revoked):
        context = ssl.create_default_context(cadata=root.roots_pem.decode())
        file = tmp_path / f"{certificate.serial}.pem"
        file.write_bytes(certificate.key_pem + certificate.chain_pem)
        context.load_cert_chain(file)
        if certificate is good:
            async with connection(port, context, server.identity.dns_name) as echo:
                assert await echo(b"salaam") == b"salaam"
        else:
            with pytest.raises(ssl.SSLError, match="CERTIFICATE_REVOKED"):
                await refusal(port, context, server.identity.dns_name)


async def refusal(address: SocketAddress, context: ssl.SSLContext, name: str | None) -> None:
    """Connect and read: a write could meet the closed connection before the alert that says why was read."""
    reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context, server_hostname=name)
    try:
        await reader.read(1)
    finally:
        writer.close()


async def loaded_serial(envoy: EnvoyProcess) -> int:
    certificate, *_ = json.loads(await envoy.admin.get("/certs"))["certificates"]
    return int(certificate["cert_chain"][0]["serial_number"], 16)


@asynccontextmanager
async def connection(
    address: SocketAddress, context: ssl.SSLContext, name: str
) -> AsyncIterator[Callable[[bytes], Awaitable[bytes]]]:
    reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context, server_hostname=name)

    async def echo(data: bytes) -> bytes:
        writer.write(data)
        return await reader.readexactly(len(data))

    try:
        yield echo
    finally:
        writer.transport.abort()


def mutual_tls_listener(address: SocketAddress) -> Encoded:
    ads = ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)
    context = DownstreamTlsContext(
        require_client_certificate=True,
        common_tls_context=CommonTlsContext(
            tls_certificate_sds_secret_configs=[SdsSecretConfig(name="default", sds_config=ads)],
            validation_context_sds_secret_config=SdsSecretConfig(name="ROOTCA", sds_config=ads),
        ),
    )
    chain = FilterChain(
        transport_socket=TransportSocket(name="envoy.transport_sockets.tls", typed_config=pack(context)),
        filters=[Filter(name="envoy.filters.network.echo", typed_config=pack(Echo()))],
    )
    return Encoded.of(Listener(name="tls", address=address.to_envoy(), filter_chains=[chain]))
