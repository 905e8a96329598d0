"""Which statistics a sidecar keeps. An untrimmed Envoy spends most of a cluster update on creating counters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from envoy_data_plane.envoy.config.metrics.v3 import HistogramBucketSettings, StatsConfig, StatsMatcher
from envoy_data_plane.envoy.type.matcher.v3 import ListStringMatcher, StringMatcher

# Istio: pkg/bootstrap/config.go, requiredEnvoyStatsMatcherInclusionPrefixes and …Suffixes. `istio` are the metrics of
# the stats access logger; the readiness of warming resources is read from the two managers. `sds.` is ours: without an
# agent, Envoy alone knows whether it took a certificate.
_PREFIXES: Final = (
    "cluster_manager",
    "listener_manager",
    "server",
    "cluster.xds-grpc",
    "sds.",
    "wasm",
    "component",
    "reporter=",
    "istio",
)
_SUFFIXES: Final = (
    "rbac.allowed",
    "rbac.denied",
    "shadow_allowed",
    "shadow_denied",
    "downstream_cx_active",  # needed to see that a drain is over
)


def stats_config(
    *, prefixes: Sequence[str] = (), histogram_buckets: Mapping[str, Sequence[float]] | None = None
) -> StatsConfig:
    """Istio's default set, plus `prefixes` (Istio: annotation sidecar.istio.io/statsInclusionPrefixes).

    `histogram_buckets` maps a prefix of histogram names to upper bounds (Istio: annotation
    sidecar.istio.io/statsHistogramBuckets); other histograms have Envoy's buckets, as in Istio.
    """
    matchers = [StringMatcher(prefix=prefix) for prefix in (*_PREFIXES, *prefixes)]
    matchers += [StringMatcher(suffix=suffix) for suffix in _SUFFIXES]
    return StatsConfig(
        stats_matcher=StatsMatcher(inclusion_list=ListStringMatcher(patterns=matchers)),
        histogram_bucket_settings=[
            HistogramBucketSettings(match=StringMatcher(prefix=prefix), buckets=[float(bound) for bound in bounds])
            for prefix, bounds in (histogram_buckets or {}).items()
        ],
    )
