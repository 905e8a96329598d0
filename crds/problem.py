"""What is wrong with a document: one value for decoding, validation and the list of unsupported fields."""

from enum import StrEnum

import msgspec


class Severity(StrEnum):
    """Only an error keeps an object out of the mesh."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Problem(msgspec.Struct, frozen=True):
    """One finding. `code` is stable and listed in `crds.codes`; `path` names the field from the document's root."""

    code: str
    severity: Severity
    path: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        remedy = f" ({self.remedy})" if self.remedy else ""
        return f"{self.severity} {self.code} {where}{self.message}{remedy}"


class Invalid(ValueError):  # noqa: N818 - it names the verdict, and carries every error
    """A document that cannot become an object."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems
