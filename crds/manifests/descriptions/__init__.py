"""What schemas say of each field, for `kubectl explain`: one line a field, in tables of plain text by message."""

import sys
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from crds.manifests.descriptions import common, extensions, routing, security, traffic, workloads
from crds.meta import IstioObject


def _read(*tables: str) -> Mapping[str, Mapping[str, str]]:
    held: dict[str, dict[str, str]] = {}
    message = ""
    for line in "\n".join(tables).splitlines():
        field, colon, text = line.strip().partition(": ")
        if colon:
            held[message][field] = text
        elif field:
            message = field
            held[message] = {}
    return MappingProxyType(held)


TEXTS = _read(common.TEXTS, routing.TEXTS, traffic.TEXTS, workloads.TEXTS, security.TEXTS, extensions.TEXTS)
"""Message, field, text; the message `*` has what fields of one name say everywhere."""


def described(message: type[msgspec.Struct], field: str) -> str:
    """What a field of a message is for; empty if no table says it."""
    return TEXTS.get(message.__name__, {}).get(field) or TEXTS["*"].get(field, "")


def summary(kind: type[IstioObject]) -> str:
    """What a kind is for: the documentation of its module."""
    text = sys.modules[kind.__module__].__doc__ or ""
    told = text.strip().removeprefix(f"{kind.__name__}: ")
    return told[:1].upper() + told[1:]
