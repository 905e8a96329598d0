"""How an injected pod is captured, whatever is asked for since."""

from __future__ import annotations

from typing import Final

CAPTURED_BY: Final = "sidecar.dragoman.io/captured-by"
"""Annotation that injection sets to the interception mode. Listeners are made for it: those of another mode, which the
mesh or the pod may ask for later, would get no traffic, or be more than Envoy has the right to bind."""
