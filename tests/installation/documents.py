"""Small documents for tests of the judgements."""

from __future__ import annotations

from typing import Any

from dragoman.installation.bundle import Bundle, bundle


def rendered(namespace: str = "istio-system", **values: Any) -> Bundle:
    """A bundle of these values, without the definitions, which are long, unless `base` says otherwise."""
    return bundle({"base": {"enableCRDs": False}} | values, namespace=namespace)


def one(found: Bundle, kind: str, name: str = "") -> dict[str, Any]:
    """The only object of a kind, or the one of this name."""
    (document,) = (each for each in found.documents if each["kind"] == kind and name in ("", each["metadata"]["name"]))
    return document


def all_of(found: Bundle, kind: str) -> list[dict[str, Any]]:
    """Every object of a kind."""
    return [each for each in found.documents if each["kind"] == kind]
