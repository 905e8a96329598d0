"""Where a route sends requests (Istio: pilot/pkg/networking/core/route/route.go, applyHTTPRouteDestination)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from envoy_data_plane.envoy.config.route.v3 import (
    Route,
    RouteAction,
    RouteActionHashPolicy,
    RouteActionMaxStreamDuration,
    RouteActionRequestMirrorPolicy,
    WeightedCluster,
    WeightedClusterClusterWeight,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatchAndSubstitute
from envoy_data_plane.envoy.type.v3 import FractionalPercent

from crds.destination import Destination
from crds.regex import unknown_group
from crds.virtualservice import HTTPRetry, HTTPRewrite, HTTPRoute, HTTPRouteDestination, Percent
from translators import alpn
from translators.durations import not_negative
from translators.fractions import ALWAYS, fraction, of_requests, whole_fraction
from translators.header_operations import header_changes
from translators.header_text import one_line
from translators.regexes import regex_matcher
from translators.retries import retry_policy
from translators.untranslatable import UntranslatableError

NO_TIMEOUT = timedelta(0)
"""Envoy's 15 seconds are not Istio's default: a route without a timeout has none."""

CLIENT_DEADLINE = RouteActionMaxStreamDuration(max_stream_duration=NO_TIMEOUT, grpc_timeout_header_max=NO_TIMEOUT)
"""A gRPC call ends at the deadline that its client set, whatever it is.

Istio says so with `max_grpc_timeout`, which Envoy has deprecated: it logs a warning for each route that has it.
"""


@dataclass(frozen=True, slots=True)
class Target:
    """What a destination of the mesh is for Envoy; `hash_policy` where its load balancer hashes requests."""

    cluster: str
    hash_policy: RouteActionHashPolicy | None = None
    follows_client: bool = False
    """Requests go out in the HTTP version they came in, and so each has to offer its own (`translators.alpn`)."""


Resolve = Callable[[Destination], Target]


def forward(out: Route, http: HTTPRoute, resolve: Resolve, default_retries: HTTPRetry | None) -> None:
    """Make `out` send its requests to the destinations of `http`. Headers of a single destination go to the route."""
    action = RouteAction()
    out.route = action
    targets = [(destination, resolve(destination.destination)) for destination in weighted(http.route)]
    action.hash_policy = _hash_policies(targets)
    action.retry_policy = retry_policy(
        http.retries if http.retries is not None else default_retries, consistent_hash=bool(action.hash_policy)
    )
    action.timeout = NO_TIMEOUT if http.timeout is None else not_negative(http.timeout, "timeout")
    if not action.timeout:
        # Only here: Envoy takes no notice of `timeout` where this is set (Envoy: router.cc, usingNewTimeouts).
        action.max_stream_duration = CLIENT_DEADLINE
    authority = header_changes(http.headers).authority
    if http.rewrite is not None:
        _rewrite(action, http.rewrite)
        authority = http.rewrite.authority or authority
    if len(targets) == 1:
        destination, target = targets[0]
        changes = header_changes(destination.headers)
        changes.apply(out)
        action.cluster = target.cluster
        if target.follows_client:
            out.typed_per_filter_config |= alpn.PER_REQUEST
        authority = changes.authority or authority
    else:
        action.weighted_clusters = WeightedCluster(clusters=[_share(*entry) for entry in targets])
    action.host_rewrite_literal = one_line(authority, "rewrite.authority") or None
    action.request_mirror_policies = list(_mirrors(http, resolve))


def weighted(destinations: tuple[HTTPRouteDestination, ...]) -> tuple[HTTPRouteDestination, ...]:
    """Destinations that get a share: a weight of zero is none, but the only destination gets all."""
    if not destinations:
        raise UntranslatableError("route", "no destination")
    if any((destination.weight or 0) < 0 for destination in destinations):
        raise UntranslatableError("route", "a weight must not be negative")
    if len(destinations) == 1:
        return destinations
    shared = tuple(destination for destination in destinations if destination.weight)
    if not shared:
        raise UntranslatableError("route", "the weights of several destinations add up to zero")
    if sum(destination.weight or 0 for destination in shared) >= 2**32:
        raise UntranslatableError("route", "the weights add up to more than 32 bits")
    return shared


def _share(destination: HTTPRouteDestination, target: Target) -> WeightedClusterClusterWeight:
    changes = header_changes(destination.headers)
    share = WeightedClusterClusterWeight(
        name=target.cluster,
        weight=destination.weight,
        host_rewrite_literal=one_line(changes.authority, "route.headers.request.set.host") or None,
    )
    changes.apply(share)
    if target.follows_client:
        share.typed_per_filter_config |= alpn.PER_REQUEST
    return share


def _hash_policies(targets: list[tuple[HTTPRouteDestination, Target]]) -> list[RouteActionHashPolicy]:
    found: list[RouteActionHashPolicy] = []
    for _, target in targets:
        if target.hash_policy is not None and target.hash_policy not in found:
            found.append(target.hash_policy)
    return found


def _rewrite(action: RouteAction, rewrite: HTTPRewrite) -> None:
    regex = rewrite.uri_regex_rewrite
    if regex is not None and regex.match:
        pattern = regex_matcher(regex.match, "rewrite.uriRegexRewrite.match")
        substitution = regex.rewrite or ""
        if unknown := unknown_group(substitution, regex.match):
            raise UntranslatableError("rewrite.uriRegexRewrite.rewrite", f"{unknown} is no group of the expression")
        action.regex_rewrite = RegexMatchAndSubstitute(pattern=pattern, substitution=substitution)
    elif rewrite.uri:
        action.prefix_rewrite = one_line(rewrite.uri, "rewrite.uri")


def _mirrors(http: HTTPRoute, resolve: Resolve) -> Iterator[RouteActionRequestMirrorPolicy]:
    if http.mirror is not None:
        share = _mirror_share(http)
        if share is not None:
            yield _mirror(resolve(http.mirror), share)
    for index, policy in enumerate(http.mirrors):
        share = _percent_or_all(policy.percentage, f"mirrors[{index}].percentage")
        if share is not None:
            yield _mirror(resolve(policy.destination), share)


def _mirror(target: Target, share: FractionalPercent) -> RouteActionRequestMirrorPolicy:
    return RouteActionRequestMirrorPolicy(
        cluster=target.cluster,
        runtime_fraction=of_requests(share),
        trace_sampled=False,
        disable_shadow_host_suffix_append=True,
    )


def _mirror_share(http: HTTPRoute) -> FractionalPercent | None:
    if http.mirror_percentage is not None:
        return _percent_or_all(http.mirror_percentage, "mirrorPercentage")
    percent = http.mirror_percent if http.mirror_percent is not None else http.mirror_percent_alias
    if percent is None:
        return ALWAYS
    return whole_fraction(percent, "mirrorPercent") if percent else None


def _percent_or_all(percent: Percent | None, path: str) -> FractionalPercent | None:
    """Unset mirrors every request, zero none (Istio: MirrorPercent)."""
    if percent is None:
        return ALWAYS
    return fraction(percent, path) if percent.value else None
