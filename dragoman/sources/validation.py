"""Judging files without a mesh: what ``dragoman validate`` prints."""

from collections.abc import Iterable
from pathlib import Path

from crds.problem import Severity
from dragoman.sources import manifest
from dragoman.sources.change import Report
from dragoman.sources.folder import Tree, read
from dragoman.sources.registry import Registry


def check(paths: Iterable[Path]) -> list[Report]:
    """Everything there is to say about files and folder trees, by file and line: errors, warnings, what is ignored.

    A file that is named is read whatever its suffix. Raises OSError for a path that cannot be read.
    """
    registry = Registry()
    files = {file for path in paths for file in (Tree(path).files if path.is_dir() else [path])}
    for path in sorted(files):
        content = read(path)
        if isinstance(content, OSError):
            raise content
        if content is None:
            raise FileNotFoundError(2, "No such file", str(path))
        registry.update({str(path): manifest.read(content, manifest.EMPTY, json=path.suffix == ".json")})
    return list(registry.reports())


def has_errors(reports: Iterable[Report]) -> bool:
    """Whether the exit code is 1."""
    return any(report.problem.severity is Severity.ERROR for report in reports)
