"""Objects as a stream of YAML documents, as kubectl reads it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import yaml

from dragoman.installation.objects import Document

_WIDTH: Final = 120


class _Dumper(yaml.CSafeDumper):
    """Long texts as they are, line by line."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.CSafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def written(documents: Iterable[Document]) -> str:
    """The documents, each with `---` before it."""
    text: str = yaml.dump_all(
        documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, explicit_start=True, width=_WIDTH
    )
    return text
