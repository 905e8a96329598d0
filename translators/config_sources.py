"""Where Envoy gets a resource from: always the stream it already has."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import AggregatedConfigSource, ApiVersion, ConfigSource

ADS = ConfigSource(
    ads=AggregatedConfigSource(),
    resource_api_version=ApiVersion.V3,
    # No deadline: a listener or cluster waits for what it needs instead of serving with a hole (Istio does the same).
    initial_fetch_timeout=timedelta(0),
)
