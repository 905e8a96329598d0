"""`make bench`: measures the rows, prints the table.

What is measured is told by the environment: QUICK=1, ROWS=a,b, BENCH_JSON=FILE, BENCH_MD=FILE (docs/performance.md).
Exit codes: 0 measured, whatever came out; 1 something broke that was to be measured; 2 an argument.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

from e2e.bench.processes import BenchError, build_clients
from e2e.bench.report import as_json, markdown, table
from e2e.bench.rows import QUICK, ROWS, Bench, Metrics


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _wanted(environment: dict[str, str]) -> tuple[str, ...]:
    quick = environment.get("QUICK", "") not in ("", "0")
    named = tuple(name for name in environment.get("ROWS", "").replace(",", " ").split() if name)
    unknown = [name for name in named if name not in ROWS]
    if unknown:
        raise BenchError(f"no such row: {', '.join(unknown)} (there are {', '.join(ROWS)})")
    return named or (QUICK if quick else tuple(ROWS))


async def _measure(rows: tuple[str, ...], changes: int) -> dict[str, Metrics]:
    """The rows that could be measured."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(build_clients(Path(folder)), changes, _tell)
        found = {}
        for name in rows:
            try:
                found[name] = await bench.row(name)
            except BenchError as error:
                _tell(f"{name}: {error}")
        return found


def main() -> int:
    argparse.ArgumentParser("python -m e2e.bench", description=__doc__).parse_args()
    environment = dict(os.environ)
    try:
        rows = _wanted(environment)
        quick = environment.get("QUICK", "") not in ("", "0")
        found = asyncio.run(_measure(rows, 60 if quick else 200))
    except BenchError as error:
        _tell(f"bench: {error}")
        return 1
    sys.stdout.write(table(found))
    if path := environment.get("BENCH_JSON"):
        Path(path).write_text(as_json(found))
    if path := environment.get("BENCH_MD"):
        Path(path).write_text(markdown(found))
    return 0 if len(found) == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
