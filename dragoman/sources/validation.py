"""Judging files without a mesh: what ``dragoman validate`` prints."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from crds.problem import Severity
from dragoman.sources.authorizers import reports_of_authorizers
from dragoman.sources.change import Report
from dragoman.sources.folder import Tree, read
from dragoman.sources.manifest import Content
from dragoman.sources.registry import Registry


def check(paths: Iterable[Path]) -> list[Report]:
    """Everything there is to say about files and folder trees, by file and line: errors, warnings, what is ignored.

    A file that is named is read whatever its suffix. Raises FileNotFoundError for a path that is not there.
    """
    contents: dict[Path, Content] = {}
    for path in paths:
        contents |= Tree(path).contents(()) if path.is_dir() else {path: read(path)}
    for path, content in contents.items():
        if content is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    registry = Registry()
    registry.update(registry.read({str(path): content for path, content in contents.items()}))
    found = [*registry.reports(), *reports_of_authorizers(registry)]
    return sorted(found, key=lambda report: (report.file, report.line))


def has_errors(reports: Iterable[Report]) -> bool:
    """Whether the exit code is 1."""
    return any(report.problem.severity is Severity.ERROR for report in reports)
