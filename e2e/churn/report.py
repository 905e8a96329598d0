"""What a run of the churn gave, in words: to be printed, and to find a failure again by."""

import asyncio
import collections
from collections.abc import Sequence

from e2e.churn.cast import Cast
from e2e.churn.load import Load
from e2e.churn.verdict import Request, Timeline

_SHOWN = 12
_LOGS_AFTER = 1.0
"""Seconds until the Envoys have written what they know."""


def summary(load: Load, timeline: Timeline) -> str:
    """Counts and latencies of a run."""
    probes = collections.Counter(request.probe.name for request in load.requests)
    kinds = collections.Counter(change.kind for change in timeline.changes if change is not None)
    delays = sorted(b - a for a, b in zip(timeline.applied[1:], timeline.in_force[1:], strict=False))
    middle, late = (delays[len(delays) // 2], delays[len(delays) * 99 // 100]) if delays else (0.0, 0.0)
    pace = (
        f"{len(delays)} changes and {len(load.requests)} requests in {load.seconds:.1f} s, "
        f"{len(delays) / load.seconds:.1f} changes/s and {load.per_second:.0f} requests/s; "
        f"from writing to the ACK of all: median {middle * 1000:.0f} ms, 99 % {late * 1000:.0f} ms"
    )
    return "\n".join(
        (
            pace,
            "requests: " + ", ".join(f"{name} {count}" for name, count in sorted(probes.items())),
            "changes: " + ", ".join(f"{name} {count}" for name, count in sorted(kinds.items())),
        )
    )


async def describe(cast: Cast, seed: int, failed: Sequence[tuple[Request, frozenset[str]]]) -> str:
    """Of each request that failed: what it was, what was changing meanwhile, and what the Envoys logged of it."""
    await asyncio.sleep(_LOGS_AFTER)
    lines = [f"seed {seed}: {len(failed)} requests failed"]
    for request, right in failed[:_SHOWN]:
        changes = cast.timeline.changed_between(request.opened, request.ended)
        age, took = request.started - request.opened, request.ended - request.started
        lines.append(
            f"- {request.probe.name} {request.id}, {age:.3f} s after its connection, took {took:.3f} s: "
            f"{request.outcome}; right would be {sorted(right)}"
        )
        lines += [
            f"    change {change}, {cast.timeline.applied[change.number] - request.started:+.3f} s"
            for change in changes
        ]
        lines += [f"    {line}" for line in cast.said_of(f"{request.id} ")]
    return "\n".join(lines)
