"""Manifests as text: YAML for people and kubectl, JSON for programs."""

import json
from collections.abc import Iterable
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Writes what several versions share out for each: nobody reads manifests with anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def to_yaml(documents: Iterable[dict[str, Any]]) -> str:
    """One document after the other."""
    return "---\n".join(
        yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120) for document in documents
    )


def to_json(documents: Iterable[dict[str, Any]]) -> str:
    """A document on its own, several as a List, which kubectl reads as well."""
    held = list(documents)
    document = held[0] if len(held) == 1 else {"apiVersion": "v1", "kind": "List", "items": held}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
