"""Kubernetes' LabelSelector, as Istio's mesh settings hold it (meta/v1, LabelSelector)."""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import field

from crds.model import Message


class LabelSelectorOperator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class LabelSelectorRequirement(Message, frozen=True):
    key: str
    operator: LabelSelectorOperator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case LabelSelectorOperator.IN:
                return value is not None and value in self.values
            case LabelSelectorOperator.NOT_IN:
                return value is None or value not in self.values
            case LabelSelectorOperator.EXISTS:
                return value is not None
            case LabelSelectorOperator.DOES_NOT_EXIST:
                return value is None


class LabelSelector(Message, frozen=True):
    """Every requirement must hold; an empty selector matches everything."""

    match_labels: dict[str, str] = field(default_factory=dict)
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            each.matches(labels) for each in self.match_expressions
        )
