"""Access logs written to files, as MeshConfig asks for them (Istio: pilot/pkg/model/telemetry_logging.go)."""

from __future__ import annotations

import json
from types import MappingProxyType

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLog,
    AccessLogFilter,
    LogTypeFilter,
    ResponseFlagFilter,
)
from envoy_data_plane.envoy.config.core.v3 import DataSource, SubstitutionFormatString
from envoy_data_plane.envoy.data.accesslog.v3 import AccessLogType
from envoy_data_plane.envoy.extensions.access_loggers.file.v3 import FileAccessLog
from envoy_data_plane.google.protobuf import Struct

from crds.meshconfig import AccessLogEncoding, MeshConfig
from dragoman.codec import pack, struct

LOGGER = "envoy.access_loggers.file"

TEXT_FORMAT = (
    "[%START_TIME%] "
    '"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" '
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
    '"%UPSTREAM_TRANSPORT_FAILURE_REASON%" '
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "
    '"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" '
    '"%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)
"""Istio's default line."""

JSON_FORMAT = MappingProxyType(
    {
        "start_time": "%START_TIME%",
        "route_name": "%ROUTE_NAME%",
        "method": "%REQ(:METHOD)%",
        "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
        "protocol": "%PROTOCOL%",
        "response_code": "%RESPONSE_CODE%",
        "response_flags": "%RESPONSE_FLAGS%",
        "response_code_details": "%RESPONSE_CODE_DETAILS%",
        "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
        "bytes_received": "%BYTES_RECEIVED%",
        "bytes_sent": "%BYTES_SENT%",
        "duration": "%DURATION%",
        "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
        "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
        "user_agent": "%REQ(USER-AGENT)%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "authority": "%REQ(:AUTHORITY)%",
        "upstream_host": "%UPSTREAM_HOST%",
        "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
        "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
        "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
        "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
        "requested_server_name": "%REQUESTED_SERVER_NAME%",
        "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    }
)
"""Istio's default object."""


def access_logs(mesh: MeshConfig) -> tuple[AccessLog, ...]:
    """One line for each request or connection; none where MeshConfig names no file."""
    if not mesh.access_log_file:
        return ()
    # A tcp_proxy that is asked to report the start of a connection, for metrics, would write a line then as well.
    at_the_end = LogTypeFilter(types=[AccessLogType.TcpUpstreamConnected], exclude=True)
    return (_log(mesh, AccessLogFilter(log_type_filter=at_the_end)),)


def unmatched_connection_logs(mesh: MeshConfig) -> tuple[AccessLog, ...]:
    """A line for each connection that no filter chain matched: a listener logs every connection, the filter lets only
    those through that found no route (Istio: buildListenerAccessLogs)."""
    if not mesh.access_log_file or mesh.disable_envoy_listener_log:
        return ()
    return (_log(mesh, AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=["NR"]))),)


def _log(mesh: MeshConfig, which: AccessLogFilter) -> AccessLog:
    file = FileAccessLog(path=mesh.access_log_file, log_format=_format(mesh))
    return AccessLog(name=LOGGER, filter=which, typed_config=pack(file))


def _format(mesh: MeshConfig) -> SubstitutionFormatString:
    if mesh.access_log_encoding is AccessLogEncoding.JSON:
        return SubstitutionFormatString(json_format=_json_format(mesh.access_log_format))
    written = mesh.access_log_format or TEXT_FORMAT
    if not written.endswith("\n"):
        written += "\n"
    return SubstitutionFormatString(text_format_source=DataSource(inline_string=written))


def _json_format(written: str) -> Struct:
    """The object that MeshConfig writes as text; Istio's own where that is no object, as Istio does."""
    try:
        found = json.loads(written) if written else None
    except ValueError:
        found = None
    return struct(found if isinstance(found, dict) else JSON_FORMAT)
