"""Options of `serve` about the keys of token issuers."""

from __future__ import annotations

import ipaddress

import pytest
import typer

from crds.meta import ObjectKey
from dragoman.callers.address_rules import AddressRules
from dragoman.cli.key_fetching import key_fetching
from dragoman.cli.rejections import tell_unfetched
from dragoman.mesh.inputs import KeyFetcher
from dragoman.mesh.request_authentications import KeySource
from dragoman.runtime.blame import Origin
from dragoman.runtime.key_sets import KeyFetching, UnfetchedKeys


def test_what_is_not_said_is_as_in_istio() -> None:
    assert key_fetching("20m", (), (), "control-plane") == KeyFetching(AddressRules(), 1200.0, KeyFetcher.CONTROL_PLANE)


def test_addresses() -> None:
    found = key_fetching("1h", ("127.0.0.0/8",), ("10.0.0.0/8, fd00::/8",), "hybrid")
    assert found.addresses.allowed == (ipaddress.ip_network("127.0.0.0/8"),)
    assert found.addresses.blocked == (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))
    assert found.refresh_after == 3600.0


@pytest.mark.parametrize(
    ("text", "fetcher"),
    [("false", KeyFetcher.CONTROL_PLANE), ("true", KeyFetcher.HYBRID), ("Istiod", KeyFetcher.CONTROL_PLANE)]
    + [(str(each), each) for each in KeyFetcher],
)
def test_values_of_istios_variable(text: str, fetcher: KeyFetcher) -> None:
    assert key_fetching("20m", (), (), text).fetcher is fetcher


@pytest.mark.parametrize(
    "options",
    [
        ("0s", (), (), "envoy"),
        ("soon", (), (), "envoy"),
        ("20m", ("10.0.0.1/8",), (), "envoy"),
        ("20m", (), ("localhost",), "envoy"),
        ("20m", (), (), "nobody"),
    ],
)
def test_wrong_usage(options: tuple[str, tuple[str, ...], tuple[str, ...], str]) -> None:
    with pytest.raises(typer.BadParameter):
        key_fetching(*options)


@pytest.mark.parametrize(
    ("kept", "so"), [(True, "those of before stay in force"), (False, "until then its tokens are refused")]
)
def test_keys_that_cannot_be_fetched_are_told_with_their_policies(
    capsys: pytest.CaptureFixture[str], kept: bool, so: str
) -> None:
    policy = Origin(ObjectKey("RequestAuthentication", "shop", "login"), "jwt.yaml:3")
    tell_unfetched(UnfetchedKeys(KeySource("https://a/keys", discovered=False), "no answer", (policy,), kept))
    assert capsys.readouterr().err == (
        "error: keys of a token issuer not fetched: no answer; named by RequestAuthentication shop/login (jwt.yaml:3); "
        f"{so}\n"
    )
