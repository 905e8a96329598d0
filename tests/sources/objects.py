"""Documents for the tests of sources, and short names for what they are about."""

import os
from pathlib import Path

from crds.meta import ObjectKey
from dragoman.sources.change import Batch


def entry(name: str, host: str = "plain.example", namespace: str = "default") -> str:
    """A valid object of which one value matters."""
    return (
        f"apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  host: {host}\n"
    )


def invalid(name: str) -> str:
    """The same object, with a field that does not exist, in line 6."""
    return entry(name) + "  hots: x\n"


def key(name: str, namespace: str = "default") -> ObjectKey:
    return ObjectKey("DestinationRule", namespace, name)


def join(*documents: str) -> str:
    return "---\n".join(documents)


def replace(path: Path, text: str) -> None:
    """Write as careful programs do: beside, then rename."""
    scratch = path.with_name(f".{path.name}.tmp")
    scratch.write_text(text)
    os.rename(scratch, path)


def summary(batch: Batch) -> dict[str, str]:
    """What a batch does: name → the new host, or "-" for a deletion."""
    return {change.key.name: change.new.spec.host if change.new else "-" for change in batch.changes}  # type: ignore[attr-defined]


def codes(batch: Batch) -> list[str]:
    return [report.problem.code for report in batch.reports]
