"""Whoever holds the root of one trust domain signs in the name of no other: real Envoys, as servers and as clients."""

from __future__ import annotations

import asyncio
import random
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import Address, SocketAddress
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.extensions.filters.network.echo.v3 import Echo
from envoy_data_plane.envoy.extensions.filters.network.tcp_proxy.v3 import TcpProxy
from structlog.testing import capture_logs

from ca.authority import Authority, key_pem, new_root, pem
from ca.identity import SpiffeId, WorkloadIdentity
from ca.secrets import root_secret, workload_secret
from ca.workload_certificates import WorkloadCertificates
from dragoman.codec import Encoded, pack
from dragoman.runtime.identities import Identities
from tests.ca.conftest import issue_intermediate
from tests.runtime.test_added_roots import verified_with
from tests.support.free_ports import own_loopback
from tests.support.revocations import revocations
from tests.support.until import until
from tests.support.xds_envoy import served_envoy
from translators.peer_names import peer_names
from translators.tls import exact_uri, mesh_downstream, mesh_upstream
from translators.trust_domains import TrustDomains

NOW = datetime.now(UTC)
OWN, OLD, FOREIGN = (new_root(name, now=NOW) for name in ("own", "old", "foreign"))
DOMAINS = ("cluster.local", "old.example")
NAMED = {"old.example": OLD.roots, "elsewhere.example": FOREIGN.roots}
WEB = WorkloadIdentity(SpiffeId("cluster.local", "shop", "web"), "web")


def identities() -> Identities:
    return Identities(WorkloadCertificates(OWN, lambda: datetime.now(UTC), random.Random(0)))  # noqa: S311 - jitter


HERE = own_loopback()
"""Where the Envoy listens."""


class Shown:
    """A certificate that `authority` signed for somebody of `domain`, to be shown by a client or a server."""

    def __init__(self, folder: Path, authority: Authority, domain: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        signed = authority.sign(
            key.public_key(), spiffe_ids=[SpiffeId(domain, "shop", "peer")], now=NOW, lifetime=timedelta(hours=1)
        )
        self.serial = signed.serial_number
        self.file = folder / f"{signed.serial_number}.pem"
        self.file.write_bytes(key_pem(key) + pem([signed]))

    def context(self, protocol: int) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(self.file)
        return context


async def echoes(port: int, context: ssl.SSLContext | None = None) -> bool:
    """Whether what is said to a port comes back."""
    try:
        reader, writer = await asyncio.open_connection(HERE, port, ssl=context)
        try:
            writer.write(b"salaam")
            return await reader.read(6) == b"salaam"
        finally:
            writer.transport.abort()
    except (ssl.SSLError, ConnectionError):
        return False


def listener(name: str, port: int, chain: FilterChain) -> Encoded:
    address = Address(socket_address=SocketAddress(address=HERE, port_value=port))
    return Encoded.of(Listener(name=name, address=address, filter_chains=[chain]))


def server(port: int) -> Encoded:
    names = peer_names((), 0, TrustDomains("cluster.local", ("old.example",)))
    echo = Filter(name="echo", typed_config=pack(Echo()))
    return listener("server", port, FilterChain(filters=[echo], transport_socket=mesh_downstream(["istio"], names)))


def client(port: int, to: int, domain: str) -> tuple[Encoded, Encoded]:
    """What is said to `port` is said to the server at port `to`, if it is of a trust domain."""
    name = f"client-{domain}"
    address = Address(socket_address=SocketAddress(address="127.0.0.1", port_value=to))
    cluster = Cluster(
        name=name,
        type=ClusterDiscoveryType.STATIC,
        load_assignment=ClusterLoadAssignment(
            cluster_name=name,
            endpoints=[LocalityLbEndpoints(lb_endpoints=[LbEndpoint(endpoint=Endpoint(address=address))])],
        ),
        transport_socket=mesh_upstream("x", ["istio"], [exact_uri(f"spiffe://{domain}/ns/shop/sa/peer")]),
    )
    proxy = Filter(name="envoy.filters.network.tcp_proxy", typed_config=pack(TcpProxy(stat_prefix=name, cluster=name)))
    return Encoded.of(cluster), listener(name, port, FilterChain(filters=[proxy]))


@pytest.mark.envoy
async def test_servers_and_clients_believe_each_root_of_its_own_trust_domain_only(tmp_path: Path) -> None:
    ours = identities()
    certificate = ours.certificates.acquire(WEB, "test")
    shown_by = {
        (authority, domain): Shown(tmp_path, authority, domain)
        for authority in (OWN, OLD, FOREIGN)
        for domain in (*DOMAINS, "elsewhere.example")
    }
    revoked = Shown(tmp_path, OWN, "cluster.local")
    at, *to_clients = 15001, 15002, 15003
    showing = shown_by[OWN, "cluster.local"]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(6))
        writer.close()

    upstream = showing.context(ssl.PROTOCOL_TLS_SERVER)
    upstream.num_tickets = 0  # who resumes a session is shown no certificate
    beyond = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=upstream)
    to = beyond.sockets[0].getsockname()[1]
    fixed = [server(at), workload_secret(certificate)]
    for port, domain in zip(to_clients, ("cluster.local", "elsewhere.example"), strict=True):
        fixed += client(port, to, domain)
    async with beyond, served_envoy(tmp_path) as envoy:

        async def let_in(shown: Shown) -> bool:
            return await echoes(at, shown.context(ssl.PROTOCOL_TLS_CLIENT))

        await envoy.serve([*fixed, ours.distributed])
        assert await let_in(showing)
        reader, writer = await asyncio.open_connection(HERE, at, ssl=showing.context(ssl.PROTOCOL_TLS_CLIENT))
        ours.also_trust((), NAMED, DOMAINS)
        await envoy.serve([*fixed, ours.distributed])
        await until(lambda: let_in(shown_by[OLD, "old.example"]))
        admitted = {key for key, shown in shown_by.items() if await let_in(shown)}
        # Our own CA is good for all of our trust domains. Others are clients of ours only if the settings say so.
        assert admitted == {(OWN, "cluster.local"), (OWN, "old.example"), (OLD, "old.example")}
        writer.write(b"still")
        assert await reader.readexactly(5) == b"still", "what is open stays"
        writer.transport.abort()

        for (authority, domain), shown in shown_by.items():
            upstream.load_cert_chain(shown.file)
            reached = tuple([await echoes(port) for port in to_clients])
            wanted = (
                (authority, domain) == (OWN, "cluster.local"),
                (authority, domain) == (FOREIGN, "elsewhere.example"),
            )
            assert reached == wanted, f"a server that {authority.certificate.subject} says is of {domain}"

        with capture_logs() as logs:
            ours.revoke([revocations(OWN, revoked.serial)])
        assert [(each["domain"], each["reason"]) for each in logs] == [("old.example", "it has no revocation list")]
        await envoy.serve([*fixed, ours.distributed])

        async def kept_out() -> bool:
            return not await let_in(revoked)

        await until(kept_out)
        assert await let_in(showing)
        assert not await let_in(shown_by[OLD, "old.example"]), "nobody knows what its root revoked"
        ours.revoke([revocations(OLD)])
        await envoy.serve([*fixed, ours.distributed])
        await until(lambda: let_in(shown_by[OLD, "old.example"]))
        assert not await let_in(shown_by[OLD, "cluster.local"])
        assert not await let_in(revoked)


def test_what_envoy_would_refuse_of_ours_costs_others_and_not_us() -> None:
    between = issue_intermediate(OWN, "between")
    ours = identities()
    ours.also_trust((), NAMED, DOMAINS)
    assert set(verified_with(ours.distributed)) == {*DOMAINS, "elsewhere.example"}
    with capture_logs() as logs:
        ours.use(between)
        ours.revoke([revocations(between)])
    assert ours.distributed == root_secret(OWN.roots_pem, ours.crl_pem)
    (said,) = (entry for entry in logs if entry["log_level"] == "error")
    assert said["domains"] == ["elsewhere.example", "old.example"]
    ours.revoke([revocations(between), revocations(OWN)])
    assert set(verified_with(ours.distributed)) == {*DOMAINS, "elsewhere.example"}
