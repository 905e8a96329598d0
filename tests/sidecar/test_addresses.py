import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.sidecar import SocketAddress, UnixSocket, parse_address

HOSTS = st.ip_addresses().map(str) | st.just("istiod.istio-system.svc")


@given(st.builds(SocketAddress, host=HOSTS, port=st.integers(1, 65535)) | st.just(UnixSocket("/run/x.sock")))
def test_an_address_reads_back_as_it_was_written(address):
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    ["", "host", "host:", ":15010", "host:0", "host:65536", "host:-1", "host:http", "host:²", "::1:15010", "unix:x"],
)
def test_what_is_no_address(text):
    with pytest.raises(ValueError, match=r"must be absolute|in brackets|is not host:port"):
        parse_address(text)


@pytest.mark.parametrize(
    ("host", "is_ip"), [("127.0.0.1", True), ("::1", True), ("localhost", False), ("1.2.3.4.example", False)]
)
def test_names_are_resolved_and_addresses_are_not(host, is_ip):
    assert SocketAddress(host, 1).is_ip == is_ip
