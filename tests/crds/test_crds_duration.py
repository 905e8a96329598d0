"""Durations: Go's syntax in, canonical seconds out."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crds.duration import Duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1.5s", 1.5),
        ("1h2m", 3720),
        ("10ms", 0.01),
        ("0", 0),
        ("0s", 0),
        ("-3s", -3),
        ("+.5s", 0.5),
        ("1.s", 1),
        ("100us", 0.0001),
        ("100µs", 0.0001),
        ("1500ns", 0.000002),
        ("3.000s", 3),
        ("1h1m1s1ms", 3661.001),
    ],
)
def test_go_syntax(text: str, seconds: float) -> None:
    assert Duration.parse(text) == datetime.timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "5", "s", "1 s", "1d", "1.5", "PT1S", "1s1", "--1s", ".s", "1e3s", "٣s", "300y", "9999999h"]
)
def test_what_go_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        Duration.parse(text)


SPANS = st.timedeltas(min_value=datetime.timedelta(days=-100_000), max_value=datetime.timedelta(days=100_000))


@given(SPANS)
def test_text_and_parse_are_inverse(span: datetime.timedelta) -> None:
    duration = Duration(days=span.days, seconds=span.seconds, microseconds=span.microseconds)
    assert Duration.parse(duration.text) == span


@given(st.lists(st.tuples(st.integers(0, 5000), st.sampled_from(["h", "m", "s", "ms", "us"])), min_size=1, max_size=5))
def test_terms_add_up(terms: list[tuple[int, str]]) -> None:
    unit = {"h": "hours", "m": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds"}
    expected = sum((datetime.timedelta(**{unit[name]: number}) for number, name in terms), datetime.timedelta())
    assert Duration.parse("".join(f"{number}{name}" for number, name in terms)) == expected


@given(st.text(alphabet="0123456789.+-hmsunµ ", max_size=12))
def test_any_text_parses_or_raises_value_error(text: str) -> None:
    try:
        duration = Duration.parse(text)
    except ValueError:
        return
    assert Duration.parse(duration.text) == duration
