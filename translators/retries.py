"""Retries (Istio: pilot/pkg/networking/core/route/retry/retry.go, ConvertPolicy)."""

from __future__ import annotations

from envoy_data_plane.envoy.config.route.v3 import (
    RetryPolicy,
    RetryPolicyRetryBackOff,
    RetryPolicyRetryHostPredicate,
    RetryPolicyRetryPriority,
)
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate
from envoy_data_plane.envoy.extensions.retry.priority.previous_priorities.v3 import PreviousPrioritiesConfig

from crds.virtualservice import HTTPRetry
from dragoman.codec import pack
from translators.durations import not_negative, positive

STATUS_CODES = "retriable-status-codes"
DEFAULT_CONDITIONS = f"connect-failure,refused-stream,unavailable,cancelled,{STATUS_CODES}"
DEFAULT_ATTEMPTS = 2
_SELECTION_ATTEMPTS = 5

# Envoy refuses a predicate without a typed_config.
_OTHER_HOSTS = RetryPolicyRetryHostPredicate(
    name="envoy.retry_host_predicates.previous_hosts", typed_config=pack(PreviousHostsPredicate())
)
_OTHER_LOCALITIES = RetryPolicyRetryPriority(
    name="envoy.retry_priorities.previous_priorities", typed_config=pack(PreviousPrioritiesConfig(update_frequency=2))
)


def retry_policy(retries: HTTPRetry | None, *, consistent_hash: bool = False) -> RetryPolicy | None:
    """The policy for `retries`, Istio's default for None; None where retries are switched off.

    With a consistent hash a retry must go to the same host again, so the hosts tried before are not avoided.
    """
    policy = RetryPolicy(num_retries=DEFAULT_ATTEMPTS, retry_on=DEFAULT_CONDITIONS)
    if not consistent_hash:
        _avoid_previous_hosts(policy)
    if retries is None:
        return policy
    if not retries.attempts or retries.attempts < 0:
        return None
    policy.num_retries = retries.attempts
    if retries.retry_on:
        policy.retry_on, policy.retriable_status_codes = conditions(retries.retry_on)
    if retries.per_try_timeout is not None:
        policy.per_try_timeout = not_negative(retries.per_try_timeout, "retries.perTryTimeout")
    if retries.retry_ignore_previous_hosts is False:
        policy.retry_host_predicate = []
        policy.host_selection_retry_max_attempts = 0
    elif retries.retry_ignore_previous_hosts:
        _avoid_previous_hosts(policy)
    if retries.retry_remote_localities:
        policy.retry_priority = _OTHER_LOCALITIES
    if retries.backoff is not None:
        policy.retry_back_off = RetryPolicyRetryBackOff(base_interval=positive(retries.backoff, "retries.backoff"))
    return policy


def _avoid_previous_hosts(policy: RetryPolicy) -> None:
    policy.retry_host_predicate = [_OTHER_HOSTS]
    policy.host_selection_retry_max_attempts = _SELECTION_ATTEMPTS


def conditions(retry_on: str) -> tuple[str, list[int]]:
    """Istio lets status codes stand among the conditions: Envoy wants them apart, under a condition of their own."""
    words = [word.strip() for word in retry_on.split(",") if word.strip()]
    codes = [int(word) for word in words if word.isascii() and word.isdigit()]
    named = [word for word in words if not (word.isascii() and word.isdigit())]
    if codes and STATUS_CODES not in named:
        named.append(STATUS_CODES)
    return ",".join(named), codes
