"""Istio's standard metrics from Envoy's stats access logger (Envoy: envoy.access_loggers.stats).

All but `istio_request_messages_total` and `istio_response_messages_total`: Envoy's gRPC statistics filter counts
messages, but shows both numbers as one text, which the logger cannot add up.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog, AccessLogFilter, LogTypeFilter
from envoy_data_plane.envoy.data.accesslog.v3 import AccessLogType
from envoy_data_plane.envoy.extensions.access_loggers.stats.v3 import (
    Config,
    ConfigCounter,
    ConfigHistogram,
    ConfigStat,
    ConfigTag,
)
from envoy_data_plane.envoy.extensions.access_loggers.stats.v3 import (
    ConfigHistogramUnit as Unit,
)
from envoy_data_plane.envoy.type.v3 import Scope

from dragoman.codec import pack
from translators.metric_labels import Traffic, http_labels, tcp_labels

LOGGER = "envoy.access_loggers.stats"


def http_metrics(traffic: Traffic) -> tuple[AccessLog, ...]:
    """Requests, their duration and their sizes."""
    tags = _tags(http_labels(traffic))
    return (
        _logger(
            Config(
                stats_scope=Scope(),
                counters=[ConfigCounter(stat=ConfigStat(name="istio_requests_total", tags=tags), value_fixed=1)],
                histograms=[
                    _histogram("istio_request_duration_milliseconds", tags, Unit.Milliseconds, "%DURATION%"),
                    _histogram("istio_request_bytes", tags, Unit.Bytes, "%BYTES_RECEIVED%"),
                    _histogram("istio_response_bytes", tags, Unit.Bytes, "%BYTES_SENT%"),
                ],
            )
        ),
    )


def tcp_metrics(traffic: Traffic) -> tuple[AccessLog, ...]:
    """Connections opened and closed, and their bytes, which are counted when the connection ends: what the logger is
    given before that are totals so far, not increments."""
    tags = _tags(tcp_labels(traffic))
    return (
        _logger(
            Config(
                stats_scope=Scope(),
                counters=[
                    ConfigCounter(stat=ConfigStat(name="istio_tcp_connections_opened_total", tags=tags), value_fixed=1)
                ],
            ),
            AccessLogType.TcpUpstreamConnected,
        ),
        _logger(
            Config(
                stats_scope=Scope(),
                counters=[
                    ConfigCounter(stat=ConfigStat(name="istio_tcp_connections_closed_total", tags=tags), value_fixed=1),
                    ConfigCounter(
                        stat=ConfigStat(name="istio_tcp_sent_bytes_total", tags=tags), value_format="%BYTES_SENT%"
                    ),
                    ConfigCounter(
                        stat=ConfigStat(name="istio_tcp_received_bytes_total", tags=tags),
                        value_format="%BYTES_RECEIVED%",
                    ),
                ],
            ),
            AccessLogType.TcpConnectionEnd,
        ),
    )


def _histogram(name: str, tags: list[ConfigTag], unit: Unit, value: str) -> ConfigHistogram:
    return ConfigHistogram(stat=ConfigStat(name=name, tags=tags), unit=unit, value_format=value)


def _tags(labels: tuple[tuple[str, str], ...]) -> list[ConfigTag]:
    return [ConfigTag(name=name, value_format=value) for name, value in labels]


def _logger(config: Config, when: AccessLogType | None = None) -> AccessLog:
    log = AccessLog(name=LOGGER, typed_config=pack(config))
    if when is not None:
        log.filter = AccessLogFilter(log_type_filter=LogTypeFilter(types=[when]))
    return log
