"""Conditions as a status, reports as text, and what is worth an Event."""

from __future__ import annotations

import copy
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crds.codes import problem
from crds.manifests import definitions
from crds.meta import ObjectKey, ObjectMeta
from crds.problem import Problem, Severity
from dragoman.operator.events import worth_telling
from dragoman.operator.report import Report, Told, decoded, encoded, version_of
from dragoman.operator.status_document import differs, differs_in_counts_only, is_shared, ours, status_of
from dragoman.runtime.conditions import Condition
from dragoman.runtime.programmed import Programmed, Rejection

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def accepted(status: str = "True", generation: int = 1) -> Condition:
    return Condition("Accepted", status, "Accepted" if status == "True" else "Invalid", "words", generation)


def programmed(
    status: str = "True", reason: str = "Programmed", message: str = "1/1", generation: int = 1
) -> Condition:
    return Condition("Programmed", status, reason, message, generation)


def written(*conditions: Condition, before: dict[str, Any] | None = None, now: datetime = NOON) -> dict[str, Any]:
    return status_of(conditions, (), 1, before or {}, now)


def test_an_answer_keeps_the_time_at_which_it_came_to_be_so() -> None:
    first = written(accepted(), programmed("False", "Pending", "0/1"))
    later = NOON + timedelta(minutes=5)
    second = written(accepted(), programmed("True"), before=first, now=later)
    assert [entry["lastTransitionTime"] for entry in first["conditions"]] == ["2026-11-21T12:00:00Z"] * 2
    times = {entry["type"]: entry["lastTransitionTime"] for entry in second["conditions"]}
    assert times == {"Accepted": "2026-11-21T12:00:00Z", "Programmed": "2026-11-21T12:05:00Z"}


def test_what_stands_there_is_not_written_again_whoever_wrote_beside_it() -> None:
    status = written(accepted(), programmed())
    theirs = {"type": "Reconciled", "status": "True", "observedGeneration": "7"}
    stored = {"observedGeneration": "1", "conditions": [theirs, *reversed(status["conditions"])], "addresses": []}
    assert not differs(ours(stored), status)
    assert differs(ours(stored), written(accepted("False"), programmed(), before=status))
    assert differs({}, status)


def test_counts_alone_are_no_reason_to_hurry() -> None:
    status = written(accepted(), programmed(message="1/1"))
    more = written(accepted(), programmed(message="2/2"), before=status)
    assert differs(status, more)
    assert differs_in_counts_only(status, more)
    assert not differs_in_counts_only(status, written(accepted(), programmed("False", "Pending"), before=status))
    assert not differs_in_counts_only(status, written(accepted(), programmed(generation=2), before=status))


def test_problems_are_listed_with_their_codes() -> None:
    warning = problem("DRG0202", "spec.http[0].mirrors", "this field has no effect yet", "remove it")
    (message,) = status_of((), (warning,), 1, {}, NOON)["validationMessages"]
    assert message == {
        "type": {"code": "DRG0202", "name": "a field or mesh setting that has no effect yet"},
        "level": "WARNING",
        "path": "spec.http[0].mirrors",
        "message": "this field has no effect yet (remove it)",
    }
    fault = Problem("DRG0009", Severity.ERROR, "", "a defect")
    assert status_of((), (fault,), 1, {}, NOON)["validationMessages"][0]["level"] == "ERROR"


def reasons(before: dict[str, Any], *now: Condition) -> list[str]:
    return [told.reason for told in worth_telling(before, now)]


def test_authors_hear_of_what_goes_wrong_once_and_of_its_end() -> None:
    good = written(accepted(), programmed())
    rejected = programmed("False", "Rejected", "no")
    assert reasons({}, accepted(), programmed("False", "Pending")) == []
    assert reasons(good, accepted("False", 2)) == ["Invalid"]
    assert reasons(good, accepted(), rejected) == ["Rejected"]
    bad = written(accepted(), rejected)
    assert reasons(bad, accepted(), programmed("False", "Rejected", "no; 0/2")) == []
    assert reasons(bad, accepted(), programmed("False", "Rejected", "no", generation=2)) == ["Rejected"]
    assert reasons(bad, accepted(), programmed()) == ["Programmed"]
    conflict = Condition("Conflicted", "True", "OlderWins", "host", 1)
    assert reasons(good, conflict) == ["Conflicted"]
    assert reasons(written(conflict), conflict) == []


def test_whose_conditions_are_shared_stands_in_the_definition() -> None:
    ours_ = next(each for each in definitions() if each["spec"]["names"]["kind"] == "VirtualService")
    assert is_shared(ours_)
    istios = copy.deepcopy(ours_)
    conditions = istios["spec"]["versions"][-1]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    del conditions["conditions"]["x-kubernetes-list-type"]
    assert not is_shared(istios)
    for version in istios["spec"]["versions"]:
        version["schema"] = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    assert not is_shared(istios)


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
COUNTS = st.builds(
    Programmed,
    st.integers(0, 9),
    st.integers(0, 9),
    st.lists(TEXT, max_size=2).map(tuple),
    st.lists(st.builds(Rejection, TEXT, TEXT, TEXT, st.lists(TEXT, max_size=2).map(tuple), st.booleans())).map(tuple),
    st.lists(TEXT, max_size=2).map(tuple),
)
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True)
KEYS = st.builds(ObjectKey, st.just("VirtualService"), NAMES, NAMES)


@given(st.dictionaries(KEYS, st.builds(Told, NAMES, COUNTS), max_size=5))
def test_a_report_says_the_same_at_the_other_end(objects: dict[ObjectKey, Told]) -> None:
    found = decoded(encoded(Report(objects))).objects
    assert found.keys() == objects.keys()
    for key, told in objects.items():
        wanted = told.programmed
        if wanted.complete:
            wanted = Programmed(wanted.proxies, wanted.accepted)
        assert found[key] == Told(told.version, wanted)


@given(st.text(max_size=50))
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a report"):
        decoded(text)


def many(count: int) -> dict[ObjectKey, Told]:
    chance = random.Random(1)  # noqa: S311
    return {
        ObjectKey("VirtualService", f"team-{i % 50}", f"service-{i}"): Told(
            f"{chance.randbytes(4).hex()}.1", Programmed(i % 40, i % 40)
        )
        for i in range(count)
    }


def test_ten_thousand_objects_fit_and_of_more_nothing_is_told() -> None:
    ten_thousand = many(10_000)
    assert decoded(encoded(Report(ten_thousand))) == Report(ten_thousand)
    assert decoded(encoded(Report(many(40_000)))) == Report(silent=True)


def test_a_name_that_is_used_again_has_other_versions() -> None:
    first, second = (ObjectMeta(name="a", uid=uid, generation=1) for uid in ("0123456789", "abcdefghij"))
    assert version_of(first) != version_of(second)
