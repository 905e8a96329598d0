"""How a pod is captured, where that is not as it asks for."""

from __future__ import annotations

from typing import Final

CAPTURED_BY: Final = "sidecar.dragoman.io/captured-by"
"""Annotation that injection sets to the interception mode. Listeners are made for it: Envoy could not bind those of
another mode without the rights that it needs."""
