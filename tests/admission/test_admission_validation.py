"""What may enter the cluster."""

from typing import Any

import msgspec
import pytest

from crds.decode import decode
from crds.problem import Severity
from crds.support import unsupported
from crds.validate import validate
from dragoman.admission import MalformedReviewError, Verdict, judge, read
from tests.admission.reviews import BAD_ROUTE, review, virtual_service


def _judged(obj: dict[str, Any], **how: Any) -> Verdict:
    return judge(read(review(obj, **how)))


def _found(verdict: Verdict) -> list[tuple[str, str]]:
    return [(each.code, each.path) for each in verdict.errors]


def test_a_good_object_passes_without_a_word() -> None:
    assert _judged(virtual_service()) == Verdict()


def test_a_wrong_shape_is_refused_with_the_path_of_each_misfit() -> None:
    bad = virtual_service(hosts="web", http=[{"route": [{"destination": {"host": "web"}, "weight": "90"}]}])
    assert _found(_judged(bad)) == [("DRG0102", "spec.hosts"), ("DRG0102", "spec.http[0].route[0].weight")]
    unknown = virtual_service(http=[{"rout": []}])
    (error,) = _judged(unknown).errors
    assert (error.code, error.path, error.remedy) == ("DRG0101", "spec.http[0].rout", "did you mean 'route'?")


def test_past_the_shape_everything_that_is_wrong_is_said_at_once() -> None:
    found = _found(_judged(virtual_service(http=BAD_ROUTE)))
    assert ("DRG0306", "spec.http[0].match[0].uri.regex") in found
    assert ("DRG0315", "spec.http[0].route[0].weight") in found


def test_what_has_no_effect_is_a_warning_the_same_as_of_a_file() -> None:
    obj = virtual_service(http=[{"route": [{"destination": {"host": "web"}}], "delegate": {"name": "other"}}])
    decoded = decode(obj)
    expected = [*validate(decoded), *unsupported(decoded)]
    assert expected
    verdict = _judged(obj)
    assert verdict.allowed is not any(each.severity is Severity.ERROR for each in expected)
    assert verdict.warnings == tuple(each for each in expected if each.severity is Severity.WARNING)


def test_deletions_and_subresources_and_other_kinds_pass() -> None:
    bad = virtual_service(http=BAD_ROUTE)
    assert _judged(bad, operation="DELETE") == Verdict()
    assert _judged(bad, operation="UPDATE", sub_resource="status") == Verdict()
    assert _judged({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}}) == Verdict()
    # The Gateway API's kind of the same name.
    other = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "x"},
        "spec": {"a": 1},
    }
    assert _judged(other) == Verdict()


def test_a_dry_run_is_judged_like_the_real_thing() -> None:
    assert not _judged(virtual_service(http=BAD_ROUTE), dry_run=True).allowed


def test_a_kind_or_version_of_newer_definitions_is_let_in_and_said_to_have_no_effect() -> None:
    newer = virtual_service() | {"apiVersion": "networking.istio.io/v2"}
    verdict = _judged(newer)
    assert verdict.allowed
    assert [(each.code, each.path) for each in verdict.warnings] == [("DRG0201", "apiVersion")]
    unknown = {"apiVersion": "networking.istio.io/v1", "kind": "Teleport", "metadata": {"name": "x"}, "spec": {}}
    verdict = _judged(unknown)
    assert verdict.allowed
    assert [(each.code, each.path) for each in verdict.warnings] == [("DRG0201", "kind")]


def test_what_is_being_deleted_may_lose_its_finalizers_however_wrong_it_is() -> None:
    bad = virtual_service(http=BAD_ROUTE)
    going = bad | {"metadata": bad["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert _judged(going, old=bad) == Verdict()


def test_what_was_wrong_before_and_stays_untouched_is_a_warning() -> None:
    bad = virtual_service(http=BAD_ROUTE)
    labelled = bad | {"metadata": bad["metadata"] | {"labels": {"team": "shop"}}}
    verdict = _judged(labelled, old=bad)
    assert verdict.allowed
    assert {each.code for each in verdict.warnings} >= {"DRG0306", "DRG0315"}
    mislabelled = bad | {"metadata": bad["metadata"] | {"labels": {"team": "no label!"}}}
    assert _found(_judged(mislabelled, old=bad)) == [("DRG0312", "metadata.labels[team]")]
    edited = virtual_service(http=BAD_ROUTE, hosts=["other.example"])
    assert ("DRG0306", "spec.http[0].match[0].uri.regex") in _found(_judged(edited, old=bad))


def test_a_creation_without_an_object_is_no_review() -> None:
    body = review(virtual_service(), operation="DELETE").replace(b'"operation": "DELETE"', b'"operation": "CREATE"')
    with pytest.raises(MalformedReviewError, match="CREATE without an object"):
        judge(read(body))


def test_an_object_that_is_no_object_is_no_review() -> None:
    body = msgspec.json.decode(review(virtual_service()))
    body["request"]["object"] = [1]
    with pytest.raises(MalformedReviewError, match="the request's object"):
        judge(read(msgspec.json.encode(body)))
