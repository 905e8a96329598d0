"""The wire form of questions and answers."""

import json

import pytest

from crds.problem import Problem, Severity
from dragoman.admission import MalformedReviewError, Verdict, answer, read
from tests.admission.reviews import pod, response, review, virtual_service


def _error(code: str, path: str, message: str, remedy: str = "") -> Problem:
    return Problem(code, Severity.ERROR, path, message, remedy)


def _warning(message: str) -> Problem:
    return Problem("DRG0202", Severity.WARNING, "spec.x", message)


def test_a_refusal_has_every_error_as_a_cause_of_its_own() -> None:
    request = read(review(virtual_service()))
    errors = _error("DRG0306", "spec.http[0].match[0].uri.regex", "unbalanced", "close it"), _error("DRG0701", "", "no")
    said = response(answer(request, Verdict(errors)))
    assert said["allowed"] is False
    status = said["status"]
    assert (status["code"], status["reason"]) == (422, "Invalid")
    assert status["message"] == "DRG0306 spec.http[0].match[0].uri.regex: unbalanced (close it); DRG0701 no"
    assert status["details"]["kind"] == "VirtualService"
    assert status["details"]["causes"] == [
        {
            "reason": "FieldValueInvalid",
            "field": "spec.http[0].match[0].uri.regex",
            "message": "unbalanced (close it) [DRG0306]",
        },
        {"reason": "FieldValueInvalid", "field": "(object)", "message": "no [DRG0701]"},
    ]


def test_a_patch_goes_out_as_a_json_patch_and_never_with_a_refusal() -> None:
    request = read(review(pod()))
    patch = [{"op": "add", "path": "/spec/x", "value": 1}]
    said = response(answer(request, Verdict(patch=patch)))
    assert (said["allowed"], said["patchType"], said["patch"]) == (True, "JSONPatch", patch)
    assert "patch" not in response(answer(request, Verdict((_error("DRG0601", "", "no"),), patch=patch)))
    assert "patch" not in response(answer(request, Verdict()))


def test_warnings_stay_within_what_the_api_server_passes_on() -> None:
    request = read(review(virtual_service()))
    few = response(answer(request, Verdict(warnings=(_warning("a"), _warning("b")))))["warnings"]
    assert few == ["DRG0202 spec.x: a", "DRG0202 spec.x: b"]
    many = response(answer(request, Verdict(warnings=tuple(_warning("y" * 100) for _ in range(100)))))["warnings"]
    assert sum(map(len, many)) <= 4096
    assert many[-1] == f"and {100 - len(many) + 1} more warnings: `dragoman validate` shows all of them"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not an AdmissionReview"),
        (b"{", "not an AdmissionReview"),
        (b"[]", "not an AdmissionReview"),
        (b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}', "missing required field `request`"),
        (review(pod()).replace(b'"uid": "705', b'"uid_": "705'), "missing required field `uid`"),
        (
            review(pod()).replace(b"admission.k8s.io/v1", b"admission.k8s.io/v1beta1"),
            "not AdmissionReview of admission",
        ),
        (json.dumps(pod()).encode(), "missing required field `request`"),
    ],
)
def test_what_is_no_review_is_said_to_be_none(body: bytes, why: str) -> None:
    with pytest.raises(MalformedReviewError, match=why):
        read(body)
