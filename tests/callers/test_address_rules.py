"""Which addresses may be fetched from."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.callers.address_rules import EVERYWHERE, AddressRules

REFUSED = {
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "::1": "loopback",
    "::ffff:127.0.0.1": "loopback",
    "64:ff9b::127.0.0.1": "loopback",
    "2002:7f00:1::": "loopback",
    "169.254.169.254": "link-local",
    "::ffff:169.254.169.254": "link-local",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "100.100.100.200": "metadata",
    "168.63.129.16": "metadata",
    "192.0.0.192": "metadata",
    "fd00:ec2::254": "metadata",
    "fd20:ce::254": "metadata",
    "0.0.0.0": "no host",  # noqa: S104 - not bound
    "0.1.2.3": "no host",
    "::": "no host",
    "224.0.0.1": "no host",
    "ff02::1": "no host",
    "255.255.255.255": "reserved",
    "240.0.0.1": "reserved",
}


@pytest.mark.parametrize("address", REFUSED)
def test_addresses_that_no_issuer_has(address: str) -> None:
    assert REFUSED[address] in (AddressRules().objection(address) or "")


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd12::1", "8.8.8.8", "2001:4860::1"]
)
def test_addresses_that_issuers_have(address: str) -> None:
    assert AddressRules().objection(address) is None


def test_what_is_blocked_and_what_is_allowed_all_the_same() -> None:
    rules = AddressRules(
        allowed=(ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("10.1.0.0/16")),
        blocked=(ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")),
    )
    assert rules.objection("127.0.0.1") is None
    assert rules.objection("10.1.2.3") is None
    assert rules.objection("::ffff:10.1.2.3") is None
    assert rules.objection("10.2.0.1") == "10.2.0.1 is in a blocked range"
    assert rules.objection("::ffff:10.2.0.1") == "10.2.0.1 is in a blocked range"
    assert rules.objection("fd12::1") == "fd12::1 is in a blocked range"
    assert rules.objection("::1") == "::1 is a loopback address"


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_in_every_way_to_write_it(address: ipaddress.IPv4Address) -> None:
    rules = AddressRules(blocked=(ipaddress.ip_network("10.0.0.0/8"),))
    number = int(address)
    mapped, translated = (ipaddress.IPv6Address(prefix + number) for prefix in (0xFFFF << 32, 0x64FF9B << 96))
    six_to_four = ipaddress.IPv6Address((0x2002 << 112) + (number << 80))
    assert {rules.objection(str(each)) for each in (mapped, translated, six_to_four)} == {rules.objection(str(address))}
    assert EVERYWHERE.objection(str(address)) is None
