"""Blocks of loopback addresses, and ports that are free on them."""

import contextlib
import socket

import pytest

from dragoman.demo import addresses
from dragoman.demo.addresses import NoFreeAddressError, free_ports, reserve


def test_no_two_demos_have_one_block() -> None:
    with contextlib.closing(reserve()) as first, contextlib.closing(reserve()) as second:
        assert first.prefix != second.prefix
        assert first.address(2) != second.address(2)


def test_no_block_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "BLOCKS", 0)
    with pytest.raises(NoFreeAddressError):
        reserve()


def test_a_free_port_is_the_wanted_one() -> None:
    with socket.create_server(("127.99.0.1", 0)) as other:
        port = other.getsockname()[1]
    assert free_ports(["127.99.0.2", "127.99.0.3"], [port]) == {port: port}


@pytest.mark.parametrize("host", ["0.0.0.0", "127.99.0.3"])  # noqa: S104
def test_a_port_that_anybody_has_is_passed_over(host: str) -> None:
    with socket.create_server((host, 0)) as other:
        port = other.getsockname()[1]
        found = free_ports(["127.99.0.2", "127.99.0.3"], [port])
    assert found[port] > port


def test_moved_ports_do_not_meet() -> None:
    with socket.create_server(("127.99.0.2", 0)) as other:
        port = other.getsockname()[1]
        found = free_ports(["127.99.0.2"], [port, port + 1])
    assert found[port] not in (port, port + 1)
    assert len(set(found.values())) == 2


def test_an_address_of_nobody_has_no_free_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_is_free", lambda host, port: False)
    with pytest.raises(NoFreeAddressError, match=r"127\.99\.0\.2"):
        free_ports(["127.99.0.2"], [8000])
