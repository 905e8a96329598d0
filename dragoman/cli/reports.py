"""What a person is told on standard error while things run: problems of objects, and what proxies reject."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from crds.meta import ObjectKey
from crds.problem import Severity
from dragoman.runtime.control_plane import FailedResource
from dragoman.runtime.observer import Nack, discovery_service
from dragoman.sources.change import Batch, Report


def tell(text: str) -> None:
    """Print a line on standard error."""
    typer.echo(text, err=True)


def tell_report(report: Report) -> None:
    """Print a problem with its file and line."""
    tell(f"{report.problem.severity}: {report}")


def tell_batch(batch: Batch) -> None:
    """Print the problems of a batch."""
    for report in batch.reports:
        tell_report(report)


def summary(reports: tuple[Report, ...]) -> str:
    """How many errors and warnings there are."""
    counts = [sum(r.problem.severity is severity for r in reports) for severity in (Severity.ERROR, Severity.WARNING)]
    return ", ".join(_counted(count, what) for count, what in zip(counts, ("error", "warning"), strict=True))


def tell_nack(nack: Nack) -> None:
    """Print a rejection: the proxy, its words, and the objects that the rejected resources were made from."""
    type_ = discovery_service(nack.type_url).upper()
    if not nack.names:
        tell(f"error: {nack.proxy} rejected a response of {type_}; searching for the culprit: {nack.message}")
    for name, origins in zip(nack.names, nack.origins, strict=True):
        tell(f"error: {nack.proxy} rejected {name!r} of {type_}: {nack.message}{_made_from(origins)}")


def tell_failure(failed: FailedResource) -> None:
    """Print why a resource cannot be made, and what it would have been made from."""
    tell(f"error: {failed.view}: {failed.reason}{_made_from(failed.origins)}; proxies keep what they have of it")


def _made_from(origins: Iterable[ObjectKey]) -> str:
    listed = ", ".join(map(str, origins))
    return f"; made from {listed}" if listed else ""


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
