"""Durations within the bounds that Envoy's validation sets."""

from __future__ import annotations

from datetime import timedelta

from translators.untranslatable import UntranslatableError


def not_negative(duration: timedelta, path: str) -> timedelta:
    if duration < timedelta(0):
        raise UntranslatableError(path, "must not be negative")
    return duration


def positive(duration: timedelta, path: str) -> timedelta:
    """At least a millisecond: Envoy's timers count no finer, and take what is below for zero."""
    if duration < timedelta(milliseconds=1):
        raise UntranslatableError(path, "must be at least 1ms")
    return duration
