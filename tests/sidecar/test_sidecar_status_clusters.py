"""Where the status listener asks the application."""

from __future__ import annotations

import pytest

from dragoman.codec import CLUSTER, encode, to_json
from dragoman.sidecar import SocketAddress
from dragoman.sidecar.status_listener import HttpProbe, Status, status_clusters


@pytest.mark.parametrize(
    ("application", "expected"),
    [("127.0.0.1", ["127.0.0.1", "::1"]), ("10.0.0.1", ["10.0.0.1"]), ("fd00::1", ["fd00::1"])],
)
def test_on_loopback_the_application_may_listen_in_either_family(application: str, expected: list[str]) -> None:
    probe = HttpProbe("/app-health/web/livez", 8080, "/healthz")
    status = Status(SocketAddress("10.0.0.1", 15020), application, False, "/drain/x", probes=(probe,))
    (cluster,) = (to_json(CLUSTER, encode(each)) for each in status_clusters(status))
    endpoint = cluster["loadAssignment"]["endpoints"][0]["lbEndpoints"][0]["endpoint"]
    sockets = [endpoint["address"], *(each["address"] for each in endpoint.get("additionalAddresses", []))]
    assert [each["socketAddress"]["address"] for each in sockets] == expected
