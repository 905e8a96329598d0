"""What listeners are given to be observed: labels as Istio has them, and access logs as MeshConfig asks for them."""

from __future__ import annotations

from typing import Any

import pytest
from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog

from crds.meshconfig import AccessLogEncoding, MeshConfig
from dragoman.codec import encode, to_json
from translators import telemetry
from translators.metric_labels import Traffic
from translators.workload_state import PEER_FILTER

# Istio: testdata/metric of istio/proxy, "Istio Standard Metrics". Dashboards take them by name, tools by order.
STANDARD = [
    "reporter",
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_service",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_service_name",
    "destination_service_namespace",
    "destination_cluster",
    "request_protocol",
    "response_code",
    "grpc_response_status",
    "response_flags",
    "connection_security_policy",
]


def shown(log: AccessLog) -> dict[str, Any]:
    return to_json(AccessLog, encode(log))


def metrics(logs: tuple[AccessLog, ...]) -> dict[str, dict[str, str]]:
    """Label formats by metric, of the stats loggers."""
    found = {}
    for log in map(shown, logs):
        config = log["typedConfig"]
        for metric in [*config.get("counters", []), *config.get("histograms", [])]:
            tags = metric["stat"]["tags"]
            found[metric["stat"]["name"]] = {tag["name"]: tag["valueFormat"] for tag in tags}
    return found


def files(mesh: MeshConfig) -> list[dict[str, Any]]:
    logs = map(shown, telemetry.http_access_logs(mesh, Traffic.OUTBOUND))
    return [log for log in logs if log["name"] == "envoy.access_loggers.file"]


@pytest.mark.parametrize("traffic", Traffic)
def test_every_metric_has_istios_labels_in_istios_order(traffic: Traffic) -> None:
    http = metrics(telemetry.http_access_logs(MeshConfig(), traffic))
    assert sorted(http) == [
        "istio_request_bytes",
        "istio_request_duration_milliseconds",
        "istio_requests_total",
        "istio_response_bytes",
    ]
    assert all(list(labels) == STANDARD for labels in http.values())
    tcp = metrics(telemetry.tcp_access_logs(MeshConfig(), traffic))
    assert sorted(tcp) == [
        "istio_tcp_connections_closed_total",
        "istio_tcp_connections_opened_total",
        "istio_tcp_received_bytes_total",
        "istio_tcp_sent_bytes_total",
    ]
    expected = [name for name in STANDARD if name not in ("response_code", "grpc_response_status")]
    assert all(list(labels) == expected for labels in tcp.values())


@pytest.mark.parametrize("traffic", Traffic)
def test_only_a_client_names_services_by_what_was_asked_for(traffic: Traffic) -> None:
    labels = metrics(telemetry.http_access_logs(MeshConfig(), traffic))["istio_requests_total"]
    assert any(":AUTHORITY" in value for value in labels.values()) == (traffic is Traffic.OUTBOUND)


@pytest.mark.parametrize("traffic", Traffic)
def test_no_label_but_the_service_and_the_protocol_comes_from_a_request(traffic: Traffic) -> None:
    labels = metrics(telemetry.http_access_logs(MeshConfig(), traffic))["istio_requests_total"]
    said = {name for name, value in labels.items() if "REQ" in value or "request." in value}
    assert said <= {"destination_service", "request_protocol"}


def test_nothing_is_read_from_the_peer_of_a_plaintext_connection() -> None:
    labels = metrics(telemetry.http_access_logs(MeshConfig(), Traffic.INBOUND_PLAIN))["istio_requests_total"]
    assert {value for name, value in labels.items() if name.startswith("source_")} == {"unknown"}
    assert telemetry.network_filters(Traffic.INBOUND_PLAIN) == ()
    assert telemetry.network_filters(Traffic.INBOUND_MTLS) == (PEER_FILTER,)


def test_no_file_is_written_unless_asked_for() -> None:
    assert files(MeshConfig()) == []
    assert telemetry.listener_logs(MeshConfig()) == ()


def test_the_default_line_is_istios() -> None:
    (log,) = files(MeshConfig(access_log_file="/dev/stdout"))
    assert log["typedConfig"]["path"] == "/dev/stdout"
    line = log["typedConfig"]["logFormat"]["textFormatSource"]["inlineString"]
    assert line.startswith('[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%"')
    assert line.endswith("%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n")


@pytest.mark.parametrize(("written", "line"), [("a", "a\n"), ("a\n", "a\n")])
def test_a_line_of_ones_own_ends(written: str, line: str) -> None:
    (log,) = files(MeshConfig(access_log_file="f", access_log_format=written))
    assert log["typedConfig"]["logFormat"]["textFormatSource"]["inlineString"] == line


@pytest.mark.parametrize(
    ("written", "keys"),
    [('{"a": "%PROTOCOL%", "b": {"c": "d"}}', ["a", "b"]), ("no JSON", None), ("[1]", None), ("", None)],
)
def test_an_object_of_ones_own_or_istios_where_it_is_none(written: str, keys: list[str] | None) -> None:
    json = AccessLogEncoding.JSON
    (log,) = files(MeshConfig(access_log_file="f", access_log_encoding=json, access_log_format=written))
    found = sorted(log["typedConfig"]["logFormat"]["jsonFormat"])
    assert found == keys if keys else (len(found) == 24 and "upstream_transport_failure_reason" in found)


def test_a_listener_logs_what_no_chain_took_unless_that_is_switched_off() -> None:
    (log,) = telemetry.listener_logs(MeshConfig(access_log_file="f"))
    assert shown(log)["filter"] == {"responseFlagFilter": {"flags": ["NR"]}}
    assert telemetry.listener_logs(MeshConfig(access_log_file="f", disable_envoy_listener_log=True)) == ()
