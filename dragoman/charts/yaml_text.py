"""Values as YAML text, written as Helm's `toYaml` writes them (Go: sigs.k8s.io/yaml)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import yaml

_OTHERS: Final = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("bool", "float", "int", "null", "timestamp"))
_PIECES: Final = re.compile(r"\d+|\D")


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_string(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = None
    if dumper.resolve(yaml.ScalarNode, value, (True, False)) in _OTHERS:  # type: ignore[no-untyped-call]
        # A text that would be read as something else.
        style = '"'
    elif "\n" in value:
        style = "|"
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _represent_float(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
    if value.is_integer():
        return dumper.represent_int(int(value))
    return dumper.represent_float(value)


def _represent_mapping(dumper: yaml.SafeDumper, value: Mapping[str, Any]) -> yaml.MappingNode:
    return dumper.represent_mapping("tag:yaml.org,2002:map", sorted(value.items(), key=lambda item: _order(item[0])))


_Dumper.add_representer(str, _represent_string)
_Dumper.add_representer(float, _represent_float)
_Dumper.add_representer(dict, _represent_mapping)


def to_yaml(value: Any) -> str:
    """YAML with keys in order and no newline at the end."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, width=float("inf"), sort_keys=False
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _order(key: str) -> list[tuple[int, int, str]]:
    """Signs before digits before letters; digits by their number."""
    return [
        (1, int(piece), "") if piece.isdigit() else (2, 0, piece) if piece.isalpha() else (0, 0, piece)
        for piece in _PIECES.findall(key)
    ]
