"""Whatever an object looks like, there is a verdict: no webhook may fail on what somebody writes."""

import contextlib
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crds.registry import ISTIO_KINDS
from dragoman.admission import MalformedReviewError, answer, judge, read
from tests.admission.reviews import response, review, virtual_service

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**33), 2**33)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["hosts", "http", "route", "match", "uri", "tls", "servers", "port", "selector", "rules", "subsets", "endpoints"]
)
SPECS = st.recursive(
    JSON, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(FIELDS, inner, max_size=4), max_leaves=12
)


def _object(kind: str, spec: Any, metadata: Any) -> dict[str, Any]:
    resource = ISTIO_KINDS[kind].resource
    named = {"name": "x", "namespace": "shop"}
    whole = named | metadata if isinstance(metadata, dict) else metadata
    return {"apiVersion": resource.api_version(), "kind": kind, "metadata": whole, "spec": spec}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(sorted(ISTIO_KINDS)),
    SPECS,
    st.dictionaries(st.sampled_from(["labels", "annotations", "name", "deletionTimestamp"]), JSON, max_size=2),
    st.none() | SPECS,
)
def test_every_object_gets_a_verdict_that_can_be_told(kind: str, spec: Any, metadata: Any, before: Any) -> None:
    body = json.loads(review(virtual_service()))
    group, _, version = ISTIO_KINDS[kind].resource.api_version().rpartition("/")
    body["request"]["kind"] = {"group": group, "version": version, "kind": kind}
    body["request"]["object"] = _object(kind, spec, metadata)
    if before is not None:
        body["request"] |= {"operation": "UPDATE", "oldObject": _object(kind, before, metadata)}
    request = read(json.dumps(body).encode())
    verdict = judge(request)
    said = response(answer(request, verdict))
    assert said["allowed"] is (not verdict.errors)
    assert all(each.code.startswith("DRG0") for each in (*verdict.errors, *verdict.warnings))


@settings(deadline=None)
@given(JSON | st.dictionaries(st.sampled_from(["apiVersion", "kind", "request"]), JSON), st.binary(max_size=20))
def test_whatever_is_sent_is_a_review_or_said_to_be_none(value: Any, rest: bytes) -> None:
    for body in (json.dumps(value).encode(), rest):
        with contextlib.suppress(MalformedReviewError):
            judge(read(body))
