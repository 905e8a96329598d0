"""`--set`: the values that an assignment puts where."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.charts import merged, set_value
from dragoman.charts.values import overlaid


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        (["a=b"], {"a": "b"}),
        (["a.b=1", "a.c=true"], {"a": {"b": 1, "c": True}}),
        (["a=null", "b=007", "c=-3", "d=1.5"], {"a": None, "b": "007", "c": -3, "d": "1.5"}),
        (["a={x,1,y\\,z}"], {"a": ["x", 1, "y,z"]}),
        (["a={}"], {"a": []}),
        (["a[1].b=x", "a[0]=y"], {"a": ["y", {"b": "x"}]}),
        (["l.topology\\.kubernetes\\.io/zone=z"], {"l": {"topology.kubernetes.io/zone": "z"}}),
        (["a=b=c"], {"a": "b=c"}),
        (["a=1", "a.b=2"], {"a": {"b": 2}}),
        (["a="], {"a": ""}),
    ],
)
def test_puts_values_where_the_path_leads(assignments: list[str], expected: dict[str, Any]) -> None:
    values: dict[str, Any] = {}
    for assignment in assignments:
        set_value(values, assignment)
    assert values == expected


def test_a_string_stays_one() -> None:
    values: dict[str, Any] = {}
    set_value(values, "a=1", as_string=True)
    assert values == {"a": "1"}


@pytest.mark.parametrize("wrong", ["a", "=b", "a..b=1", ".a=1", "a.=1", "[0]=1", "a[x]=1", "a[5000]=1", "a[0]b=1"])
def test_refuses_what_is_no_path(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"is not|index"):
        set_value({}, wrong)


def test_null_takes_a_default_away_also_through_several_files() -> None:
    over = overlaid({"a": {"b": 1, "c": 2}}, {"a": {"b": None}})
    assert merged({"a": {"b": 7, "d": 8}, "e": 9}, over) == {"a": {"c": 2, "d": 8}, "e": 9}
    assert merged({"a": {"b": 1}}, {"a": None}) == {}
