"""Labels as values: a frozen set of pairs, so that selecting is a subset test and equal sets are one facet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Labels = frozenset[tuple[str, str]]


def labels_of(mapping: Mapping[str, str] | None) -> Labels:
    return frozenset((mapping or {}).items())


def selects(selector: Mapping[str, str] | None, labels: Labels) -> bool:
    """Whether every pair of `selector` is among `labels`; an empty selector selects everything."""
    return not selector or labels_of(selector) <= labels


def projected(labels: Labels, keys: Iterable[str]) -> Labels:
    """The labels some selector can see: two workloads that differ elsewhere are of one class."""
    seen = frozenset(keys)
    return frozenset(pair for pair in labels if pair[0] in seen)
