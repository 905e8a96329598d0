"""RE2 decides what is a regular expression: it reads what Python does not, and refuses what Python reads."""

import pytest

from crds.regex import refusal, unknown_group


@pytest.mark.parametrize(
    "text",
    [
        "/v[0-9]+/.*",
        r"\d+",
        "(?i)bookinfo",
        "[[:alpha:]]+",
        "[*+]+",
        "[(?=]",
        "(?P<name>x)",
        "(?<name>x)",
        r"\pN\p{Greek}\C\x{FF}\Q(\E",
        "[à-é]",
        "a{1000}",
        "(a{10}){100}",
        "(?:a{1,100}){1,10}",
        "[^/]{1,200}",
        "a|",
        "é",
        "a\0",
        r"\++",
        r"\z",
    ],
)
def test_what_re2_reads_passes(text: str) -> None:
    assert refusal(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "(",
        "a(?=b)",
        "a(?!b)",
        "(?<=a)b",
        "(?>a)",
        "(?#a)",
        r"(a)\1",
        "(?P<a>b)(?P=a)",
        "a++",
        "a{2}+",
        r"\x{100}",
        r"\Z",
        r"\u0061",
        "a{1001}",
        "(a{11}){100}",
        "(?:a{1,100}){1,100}",
        "((a{10}){10}){11}",
        "[[:foo:]]",
        r"\p{Foo}",
        "[b-a]",
        "*",
        "a\\",
    ],
)
def test_what_re2_refuses_is_refused_and_said_why(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert refusal(text)
    assert capfd.readouterr() == ("", ""), "RE2 itself writes nothing"


def test_what_is_too_large_for_envoy_is_refused() -> None:
    assert refusal(".{1000}" * 16) == ""
    assert "32768" in refusal(".{1000}" * 17)


def test_reasons_are_short_however_long_the_expression() -> None:
    assert len(refusal("(" * 1000)) < 100


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("a", 0),
        ("(a)(b)", 2),
        (r"\((a)", 1),
        ("[(](a)", 1),
        ("(?:a)(b)", 1),
        ("(?P<n>a(b))", 2),
        ("(?<n>a)", 1),
        ("(?i)(a)", 1),
    ],
)
def test_groups_are_those_that_capture(text: str, number: int) -> None:
    known = "".join(rf"\{group}" for group in range(number + 1))
    assert unknown_group(f"/a{known}$1", text) == ""
    assert unknown_group(rf"{known}\{number + 1}", text) == rf"\{number + 1}"


@pytest.mark.parametrize(
    ("substitution", "unknown"), [(r"\\1", ""), (r"\a", r"\a"), ("a\\", "\\"), (r"\²", r"\²"), ("\\\n", "\\\n")]
)
def test_backslashes_name_groups_or_themselves(substitution: str, unknown: str) -> None:
    assert unknown_group(substitution, "a") == unknown
