"""Strategic merge and JSON Patch: the two ways in which pods are changed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from json_patch import patched

from dragoman.sidecar.injection.overlay import merge
from dragoman.sidecar.injection.patch import difference


@pytest.mark.parametrize(
    ("base", "patch", "merged"),
    [
        ({"a": 1, "b": {"c": 2}}, {"b": {"d": 3}}, {"a": 1, "b": {"c": 2, "d": 3}}),
        ({"a": 1}, {"a": None, "b": None}, {}),
        ({"args": ["a"]}, {"args": ["b"]}, {"args": ["b"]}),
        (
            {"containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b"}]},
            {"containers": [{"name": "c"}, {"name": "a", "env": [{"name": "Y"}, {"name": "X", "value": "2"}]}]},
            {
                "containers": [
                    {"name": "a", "image": "1", "env": [{"name": "X", "value": "2"}, {"name": "Y"}]},
                    {"name": "b"},
                    {"name": "c"},
                ]
            },
        ),
        ({"volumeMounts": [{"name": "a", "mountPath": "/x"}]}, {"volumeMounts": [{"name": "b", "mountPath": "/x"}]},
         {"volumeMounts": [{"name": "b", "mountPath": "/x"}]}),
        ({"ports": [{"containerPort": 1, "name": "a"}]}, {"ports": [{"containerPort": 2}]},
         {"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2}]}),
        ({"volumes": [{"name": "a"}, {"name": "b"}]}, {"volumes": [{"name": "a", "$patch": "delete"}]},
         {"volumes": [{"name": "b"}]}),
        ({"env": [{"name": "a"}]}, {"env": [{"$patch": "replace"}, {"name": "b"}]}, {"env": [{"name": "b"}]}),
        ({"a": {"b": 1}}, {"a": {"$patch": "replace", "c": 2}}, {"a": {"c": 2}}),
        ({}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
        ({"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "b"}]}, {"tolerations": [{"key": "b"}]}),
    ],
)  # fmt: skip
def test_merging_is_kubernetes(base: Any, patch: Any, merged: Any) -> None:
    before = repr(base)
    assert merge(base, patch) == merged
    assert repr(base) == before


_SCALARS = st.none() | st.text(max_size=3) | st.integers(2, 9)
_KEYS = st.sampled_from(["a", "b", "a/b", "~", "name", ""])
_DOCUMENTS = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4), max_leaves=20
)
_NAMED = st.lists(st.fixed_dictionaries({"name": st.sampled_from("abcd")}, optional={"x": _DOCUMENTS}), max_size=5)


@given(_DOCUMENTS, _DOCUMENTS)
def test_a_difference_leads_from_one_to_the_other(old: Any, new: Any) -> None:
    assert patched(old, difference(old, new)) == new


@given(_NAMED, _NAMED)
def test_lists_of_named_things_too(old: Any, new: Any) -> None:
    assert patched({"l": old}, difference({"l": old}, {"l": new})) == {"l": new}


@given(_DOCUMENTS)
def test_nothing_is_nothing(document: Any) -> None:
    assert difference(document, document) == []


def test_what_is_the_same_is_not_sent() -> None:
    old = {"containers": [{"name": "a", "env": ["x"] * 100, "image": "1"}, {"name": "b"}]}
    new = {"containers": [{"name": "a", "env": ["x"] * 100, "image": "2"}, {"name": "b"}, {"name": "c"}]}
    assert difference(old, new) == [
        {"op": "replace", "path": "/containers/0/image", "value": "2"},
        {"op": "add", "path": "/containers/2", "value": {"name": "c"}},
    ]
