"""A chart in a folder, rendered with values as Helm renders it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from dragoman.charts import schema
from dragoman.charts.errors import ChartError
from dragoman.charts.evaluation import Template, render
from dragoman.charts.functions import numbers_as_floats
from dragoman.charts.parser import parse
from dragoman.charts.values import Values, merged

_NOTES: Final = "NOTES.txt"
_DOCUMENTS: Final = re.compile(r"^---[^\n]*\n?", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Release:
    """What a chart is installed as."""

    name: str
    namespace: str


class Rendered(NamedTuple):
    """An object, and the text that it was read from, comments included."""

    document: dict[str, Any]
    text: str


class Chart:
    """A chart: its metadata, default values, schema, templates and files."""

    def __init__(self, folder: Path) -> None:
        """Read it. Raises ChartError."""
        try:
            self._metadata = yaml.safe_load((folder / "Chart.yaml").read_text())
            self._defaults = yaml.safe_load((folder / "values.yaml").read_text()) or {}
            self._schema = json.loads((folder / "values.schema.json").read_text())
            sources = {path.name: path.read_text() for path in sorted((folder / "templates").iterdir())}
            files = folder / "files"
            self._files = {
                f"files/{path.relative_to(files).as_posix()}": path.read_text()
                for path in (sorted(files.rglob("*")) if files.is_dir() else ())
                if path.is_file()
            }
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise ChartError(f"{folder}: no chart: {error}") from None
        self.name: str = self._metadata["name"]
        self._templates: dict[str, Template] = {}
        self._named: dict[str, Template] = {}
        for name, source in sources.items():
            path = f"{self.name}/templates/{name}"
            body, defined = parse(path, source)
            self._templates[name] = Template(path, body)
            self._named |= {title: Template(path, inner) for title, inner in defined.items()}

    def takes(self, key: str) -> bool:
        """Whether the chart has a value of this name at the top."""
        return key in self._schema["properties"]

    def values(self, over: Values) -> Values:
        """The chart's own values with `over` laid over them. Raises ValuesError."""
        result = merged(self._defaults, over)
        schema.check(self.name, self._schema, result)
        return result

    def render(self, over: Values, release: Release) -> list[Rendered]:
        """The Kubernetes objects, file by file. Raises ChartError."""
        about = self._about(over, release)
        found: list[Rendered] = []
        for name, template in self._templates.items():
            if not name.startswith("_") and name.endswith(".yaml"):
                found += _documents(template.file, render(template, about, self._named))
        return found

    def notes(self, over: Values, release: Release) -> str:
        """What Helm prints once the chart is installed; nothing where it has no NOTES.txt. Raises ChartError."""
        template = self._templates.get(_NOTES)
        return render(template, self._about(over, release), self._named) if template is not None else ""

    def _about(self, over: Values, release: Release) -> dict[str, Any]:
        """What templates begin with, under the names that Helm gives it."""
        return {
            "Values": numbers_as_floats(self.values(over)),
            "Chart": {
                "Name": self.name,
                "Version": self._metadata["version"],
                "AppVersion": self._metadata["appVersion"],
            },
            "Release": {"Name": release.name, "Namespace": release.namespace},
            "Files": {"Get": lambda path: self._files.get(path, "")},
        }


def _documents(file: str, text: str) -> Iterator[Rendered]:
    for part in _DOCUMENTS.split(text):
        try:
            document = yaml.load(part, Loader=yaml.CSafeLoader)
        except yaml.YAMLError as error:
            raise ChartError(f"{file}: rendered to what is no YAML: {error}") from None
        if document:
            yield Rendered(document, part.strip("\n"))
