"""Client certificates, by TLS or forwarded by a gateway; and the order in which credentials are judged."""

from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from ca.identity import SpiffeId
from dragoman.callers.authenticators import Authenticators
from dragoman.callers.client_certificate import ClientCertificate
from dragoman.callers.credentials import MAX_TOKEN, Credentials, NotAuthenticatedError, UnavailableError
from dragoman.callers.forwarded_certificate import ForwardedCertificate
from dragoman.callers.token_review import TokenReview
from tests.callers.api_connection import connected
from tests.callers.caller_samples import WEB, certificate, der, token, verifier
from xds import Peer

OLD = SpiffeId("old.example", "shop", "web")
BY_CERTIFICATE = ClientCertificate(lambda: {"cluster.local", "old.example"})
BEHIND_GATEWAYS = ForwardedCertificate([ip_network("10.0.0.0/8"), ip_network("fd00::/8")], lambda: {"cluster.local"})


@pytest.mark.parametrize("identity", [WEB, OLD])
async def test_a_certificate_of_the_mesh_or_an_alias_is_its_workload(identity: SpiffeId) -> None:
    issued = certificate(identity, dns_names=["x.example"])
    caller = await BY_CERTIFICATE.authenticate(der(issued))
    assert caller is not None
    assert caller.identities == (identity,)
    assert caller.expires_at == issued.not_valid_after_utc


@pytest.mark.parametrize(
    ("issued", "why"),
    [
        (certificate(dns_names=["istiod.istio-system.svc"]), "0 URIs"),
        (certificate(WEB, OLD), "2 URIs"),
        (certificate(SpiffeId("evil.example", "shop", "web")), "not this mesh's"),
    ],
)
async def test_other_certificates_are_nobody(issued, why) -> None:
    with pytest.raises(NotAuthenticatedError, match=why):
        await BY_CERTIFICATE.authenticate(der(issued))


def forwarded(xfcc: str, address: str = "ipv4:10.1.2.3:4567") -> Credentials:
    return Credentials(address, xfcc=xfcc)


@pytest.mark.parametrize("address", ["ipv4:10.1.2.3:4567", "ipv6:%5B::ffff:10.1.2.3%5D:1", "ipv6:[fd00::1]:1"])
async def test_a_trusted_gateway_is_believed(address: str) -> None:
    header = f'By=spiffe://cluster.local/ns/i/sa/gw;Hash=ab;Subject="CN=\\"x\\",O=a;b";URI={WEB}'
    caller = await BEHIND_GATEWAYS.authenticate(forwarded(header, address))
    assert caller is not None
    assert caller.identities == (WEB,)


async def test_the_element_that_the_gateway_added_counts() -> None:
    forged = f"URI={SpiffeId('cluster.local', 'bank', 'vault')},By=x;URI={WEB}"
    caller = await BEHIND_GATEWAYS.authenticate(forwarded(forged))
    assert caller is not None
    assert caller.identities == (WEB,)


@pytest.mark.parametrize("address", ["ipv4:127.0.0.1:1", "ipv4:192.0.2.1:1", "unix:", "unknown", "ipv6:[::1]:1"])
async def test_nobody_else_is(address: str) -> None:
    with pytest.raises(NotAuthenticatedError, match="no trusted gateway"):
        await BEHIND_GATEWAYS.authenticate(forwarded(f"URI={WEB}", address))


@pytest.mark.parametrize(
    "header",
    ["", "URI", f"URI={WEB};", f"URI={WEB};URI={OLD}", f"URI={OLD}", "URI=", 'URI="' + str(WEB), f"DNS=a;;URI={WEB}"],
)
async def test_headers_that_name_nobody(header: str) -> None:
    with pytest.raises(NotAuthenticatedError):
        await BEHIND_GATEWAYS.authenticate(forwarded(header))


@given(st.text(alphabet='URI=,;"\\spiffe:/ x', max_size=60))
async def test_no_header_makes_it_crash(header: str) -> None:
    with pytest.raises(NotAuthenticatedError):
        await BEHIND_GATEWAYS.authenticate(forwarded(header))


async def test_without_trusted_gateways_the_header_is_not_looked_at() -> None:
    assert await ForwardedCertificate([], lambda: {"cluster.local"}).authenticate(forwarded("x")) is None


def peer(authorization: str | None = None, **more: str) -> Peer:
    metadata = {} if authorization is None else {"authorization": authorization}
    return Peer("ipv4:10.0.0.1:1", False, metadata | more, secure=True)


def chain(registry: CollectorRegistry, *more: object) -> Authenticators:
    return Authenticators([BY_CERTIFICATE, verifier(), *more, BEHIND_GATEWAYS], registry)


async def test_the_first_that_knows_the_caller_decides() -> None:
    registry = CollectorRegistry()
    both = Peer(
        "ipv4:10.0.0.1:1",
        False,
        {"authorization": "Bearer nonsense"},
        secure=True,
        certificate=der(certificate(WEB)).certificate,
    )
    caller = await chain(registry).authenticate(both)
    assert caller.source == "client-certificate"
    assert registry.get_sample_value("dragoman_callers_authenticated_total", {"by": "client-certificate"}) == 1


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_written_in_any_case(scheme: str) -> None:
    assert (await chain(CollectorRegistry()).authenticate(peer(f"{scheme} {token()}"))).identities == (WEB,)


@pytest.mark.parametrize(
    ("caller", "by", "why"),
    [
        (peer(), "none", "no credentials"),
        (peer("Basic eDp5"), "none", "no credentials"),
        (peer("Bearer"), "none", "no credentials"),
        (peer("Bearer " + "x" * MAX_TOKEN), "none", "larger than"),
        (peer("Bearer x.y.z"), "token", "no JSON Web Token"),
    ],
)
async def test_refusals_say_why_and_are_counted(caller: Peer, by: str, why: str) -> None:
    registry = CollectorRegistry()
    with pytest.raises(NotAuthenticatedError, match=why):
        await chain(registry).authenticate(caller)
    assert registry.get_sample_value("dragoman_callers_refused_total", {"by": by}) == 1


async def test_who_cannot_be_asked_might_have_known(tmp_path: Path) -> None:
    async with connected("http://127.0.0.1:1", tmp_path) as nobody:
        away = TokenReview(nobody, ("istio-ca",), lambda: "cluster.local")
        with pytest.raises(UnavailableError):
            await chain(CollectorRegistry(), away).authenticate(peer(f"Bearer {token(iss='https://k8s')}"))
