"""What a look at a cluster finds before something is installed in it."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import NamedTuple


class Level(enum.StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Finding(NamedTuple):
    """What was found by a check; `remedy` says what to do about it."""

    check: str
    level: Level
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.level}: {self.check}: {self.message}" + (f" ({self.remedy})" if self.remedy else "")


def worst(findings: Iterable[Finding]) -> Level:
    """The level of the worst."""
    levels = list(Level)
    return max((finding.level for finding in findings), key=levels.index, default=Level.OK)
