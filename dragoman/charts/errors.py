"""What can be wrong with a chart, or with the values that it is given."""

from __future__ import annotations


class ChartError(Exception):
    """A chart cannot be rendered; the text says where and why."""


class TemplateError(ChartError):
    """A template is wrong, uses what the subset does not have, or failed by its own words (`fail`, `required`)."""

    def __init__(self, template: str, line: int, message: str) -> None:
        self.template, self.line, self.message = template, line, message
        super().__init__(f"{template}:{line}: {message}")
