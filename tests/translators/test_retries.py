"""Retries: Istio's defaults, and what each field changes of them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from crds.duration import Duration
from crds.virtualservice import HTTPRetry
from translators.retries import conditions, retry_policy
from translators.untranslatable import UntranslatableError


def test_without_a_word_requests_that_never_arrived_are_tried_twice_more_elsewhere() -> None:
    policy = retry_policy(None)
    assert policy is not None
    assert policy.num_retries == 2
    assert policy.retry_on == "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
    assert policy.retriable_status_codes == []
    assert [predicate.name for predicate in policy.retry_host_predicate] == [
        "envoy.retry_host_predicates.previous_hosts"
    ]
    # Envoy refuses a predicate without it.
    assert policy.retry_host_predicate[0].typed_config is not None


@pytest.mark.parametrize("attempts", [None, 0, -1])
def test_no_attempts_are_no_retries(attempts: int | None) -> None:
    assert retry_policy(HTTPRetry(attempts=attempts, retry_on="5xx")) is None


def test_a_consistent_hash_stays_on_its_host_unless_told_otherwise() -> None:
    stays = retry_policy(None, consistent_hash=True)
    told = retry_policy(HTTPRetry(attempts=1, retry_ignore_previous_hosts=True), consistent_hash=True)
    assert stays is not None
    assert told is not None
    assert not stays.retry_host_predicate
    assert told.retry_host_predicate
    leaves = retry_policy(HTTPRetry(attempts=1, retry_ignore_previous_hosts=False))
    assert leaves is not None
    assert not leaves.retry_host_predicate
    assert leaves.host_selection_retry_max_attempts == 0


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("5xx", ("5xx", [])),
        ("503", ("retriable-status-codes", [503])),
        ("gateway-error, 503 ,429", ("gateway-error,retriable-status-codes", [503, 429])),
        ("retriable-status-codes,502", ("retriable-status-codes", [502])),
    ],
)
def test_status_codes_among_conditions_are_taken_out(written: str, wanted: tuple[str, list[int]]) -> None:
    assert conditions(written) == wanted


def test_an_interval_that_envoy_would_refuse_is_named() -> None:
    with pytest.raises(UntranslatableError) as error:
        retry_policy(HTTPRetry(attempts=1, backoff=Duration(microseconds=1)))
    assert error.value.path == "retries.backoff"
    policy = retry_policy(HTTPRetry(attempts=1, backoff=Duration(milliseconds=25)))
    assert policy is not None
    assert policy.retry_back_off is not None
    assert policy.retry_back_off.base_interval == timedelta(milliseconds=25)
