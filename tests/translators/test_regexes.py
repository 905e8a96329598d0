"""Expressions that RE2 refuses are refused before Envoy sees them; what it reads passes."""

from __future__ import annotations

import pytest

from translators.regexes import regex_matcher
from translators.untranslatable import UntranslatableError


@pytest.mark.parametrize(
    "text",
    [
        "/v[0-9]+/.*",
        r"\d+",
        "(?i)bookinfo",
        "[[:alpha:]]+",
        "(?P<name>x)",
        r"a{1000}",
        "(a{10}){100}",
        "[^/]{1,200}",
        "a|",
    ],
)
def test_what_re2_reads_passes(text: str) -> None:
    assert regex_matcher(text, "uri.regex").regex == text


@pytest.mark.parametrize(
    "text",
    ["", "(", "a(?=b)", r"(a)\1", "a{1001}", "(a{11}){100}", "((a{10}){10}){11}", "[[:foo:]]", ".{1000}" * 17, "a++"],
)
def test_what_re2_refuses_is_named_by_its_field(text: str) -> None:
    with pytest.raises(UntranslatableError) as error:
        regex_matcher(text, "uri.regex")
    assert error.value.path == "uri.regex"
    assert error.value.under("spec.http[1].match[0]").path == "spec.http[1].match[0].uri.regex"
