"""What a schema says of a message beyond the types of its fields."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Keywords: TypeAlias = Mapping[str, Any]
"""Keywords of an OpenAPI v3 schema, such as `{"minItems": 1, "items": {"pattern": "…"}}`."""

RULES = "x-kubernetes-validations"


_REASONS = {"DRG0316": "FieldValueRequired"}
"""What an API server calls a fault; anything else is an invalid value. Of duplicates it would not say the message."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule in CEL (Kubernetes: "Common Expression Language in Kubernetes"), and what it says to who broke it.

    `code` is that of the problem which our own validation reports for the same fault; it ends the message. `at` names
    the field of the message that is at fault, as `.tls.mode`, where it is not the message as a whole.
    """

    expression: str
    message: str
    code: str
    at: str = ""

    @property
    def keyword(self) -> dict[str, str]:
        """The entry of `x-kubernetes-validations`."""
        entry = {"rule": self.expression, "message": f"{self.message} ({self.code})"}
        if self.at:
            entry["fieldPath"] = self.at
        if reason := _REASONS.get(self.code):
            entry["reason"] = reason
        return entry


def rules(*held: Rule) -> dict[str, Any]:
    """Rules as a keyword."""
    return {RULES: [rule.keyword for rule in held]}


@dataclass(frozen=True, slots=True)
class Constraint:
    """What holds for a message wherever it occurs: rules on it as a whole, keywords of its `fields` and of the `whole`.

    `required` are fields that our decoding lets pass, since protobuf knows no required ones, but never our validation.
    """

    rules: tuple[Rule, ...] = ()
    required: tuple[str, ...] = ()
    fields: Mapping[str, Keywords] = field(default_factory=dict)
    whole: Keywords = field(default_factory=dict)

    @property
    def keywords(self) -> dict[str, Any]:
        """The same as keywords, for one place of a message that has its own demands."""
        found: dict[str, Any] = dict(self.whole)
        if self.required:
            found["required"] = list(self.required)
        if self.fields:
            found["properties"] = {name: dict(keywords) for name, keywords in self.fields.items()}
        return found | (rules(*self.rules) if self.rules else {})


def merge(schema: dict[str, Any], keywords: Keywords) -> dict[str, Any]:
    """A schema with further keywords: maps are merged, rules and required fields added, anything else replaced."""
    merged = dict(schema)
    for name, value in keywords.items():
        held = merged.get(name)
        if isinstance(held, dict) and isinstance(value, Mapping):
            merged[name] = merge(held, value)
        elif isinstance(held, list) and name == RULES:
            merged[name] = [*held, *value]
        elif isinstance(held, list) and name == "required":
            merged[name] = sorted({*held, *value})
        else:
            merged[name] = value
    return merged
