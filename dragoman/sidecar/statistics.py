"""Which statistics a sidecar keeps. An untrimmed Envoy spends most of a cluster update on creating counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.metrics.v3 import HistogramBucketSettings, StatsConfig, StatsMatcher
from envoy_data_plane.envoy.type.matcher.v3 import ListStringMatcher, RegexMatcher, StringMatcher

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


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is kept beyond Istio's default set, and how (Istio: annotations sidecar.istio.io/stats…).

    `buckets` maps a prefix of histogram names to upper bounds, `bins` to the initial number of bins; other histograms
    have Envoy's buckets, as in Istio. Intervals of None are Envoy's.
    """

    prefixes: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    regexes: tuple[str, ...] = ()
    buckets: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    bins: Mapping[str, int] = field(default_factory=dict)
    flush_interval: timedelta | None = None
    eviction_interval: timedelta | None = None


def stats_config(statistics: Statistics) -> StatsConfig:
    """Istio's default set and `statistics`."""
    matchers = [StringMatcher(prefix=prefix) for prefix in (*_PREFIXES, *statistics.prefixes)]
    matchers += [StringMatcher(suffix=suffix) for suffix in (*_SUFFIXES, *statistics.suffixes)]
    matchers += [StringMatcher(safe_regex=RegexMatcher(regex=regex)) for regex in statistics.regexes]
    return StatsConfig(
        stats_matcher=StatsMatcher(inclusion_list=ListStringMatcher(patterns=matchers)),
        histogram_bucket_settings=[
            _histogram(prefix, statistics.buckets.get(prefix), statistics.bins.get(prefix))
            for prefix in {**statistics.buckets, **statistics.bins}
        ],
    )


def _histogram(prefix: str, bounds: tuple[float, ...] | None, bins: int | None) -> HistogramBucketSettings:
    return HistogramBucketSettings(
        match=StringMatcher(prefix=prefix),
        buckets=[float(bound) for bound in bounds or ()],
        bins=bins,
    )
