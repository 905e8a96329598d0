"""The table, for terminals, for documents and for programs. Nothing fails here: whoever reads it judges."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from e2e.bench.rows import ROWS

_LAG = "loop_lag_p99_ms"
_COMMON = (_LAG, "cpu_s", "bytes", "messages", "rss_mb")
Found = Mapping[str, Mapping[str, float]]


def as_json(found: Found) -> str:
    """{row: {metric: number}}; what could not be measured is left out."""
    finite = {
        row: {name: value for name, value in metrics.items() if math.isfinite(value)} for row, metrics in found.items()
    }
    return json.dumps(finite, indent=2) + "\n"


def holds(row: str, metrics: Mapping[str, float]) -> bool:
    """Whether everything that must hold of a row does."""
    return all(metrics.get(name, math.inf) <= limit for name, limit in ROWS[row].must.items())


def table(found: Found) -> str:
    """For a terminal: each row with its musts, and below them the rest."""
    lines = []
    for row, metrics in found.items():
        lines.append(f"{row:18} {'holds' if holds(row, metrics) else 'FAILS':6} {ROWS[row].work}")
        for name, limit in ROWS[row].must.items():
            value = metrics.get(name, math.nan)
            mark = " " if value <= limit else "!"
            lines.append(f"  {mark} {name:24} {number(value):>12}   must be ≤ {number(limit)}")
        rest = [f"{name} {number(value)}" for name, value in metrics.items() if name not in ROWS[row].must]
        lines += ["    " + ", ".join(rest[i : i + 6]) for i in range(0, len(rest), 6)]
    return "\n".join(lines) + "\n"


def markdown(found: Found) -> str:
    """The table of docs/performance.md."""
    lines = ["| row | must | measured | " + " | ".join(_COMMON) + " |", "| --- " * (3 + len(_COMMON)) + "|"]
    for row, metrics in found.items():
        must = [(name, limit) for name, limit in ROWS[row].must.items() if name != _LAG]
        limits = "<br>".join(f"`{name}` ≤ {number(limit)}" for name, limit in must)
        values = "<br>".join(_judged(metrics.get(name, math.nan), limit) for name, limit in must)
        common = " | ".join(_judged(metrics.get(name, math.nan), ROWS[row].must.get(name)) for name in _COMMON)
        lines.append(f"| `{row}` | {limits} | {values} | {common} |")
    return "\n".join(lines) + "\n"


def _judged(value: float, limit: float | None) -> str:
    return number(value) if limit is None or value <= limit else f"**{number(value)}**"


def number(value: float) -> str:
    """As people read it: three digits that count."""
    if not math.isfinite(value):
        return "?"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.{1 if abs(value) >= 10 else 2}f}"
