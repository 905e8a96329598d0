"""The running control plane: what ties sources, mesh, translators, certificates and streams together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dragoman.runtime.control_plane import ControlPlane

__all__ = ["ControlPlane"]


def __getattr__(name: str) -> Any:
    # Its files and stores are of use to commands that have no business with all of Envoy's API.
    if name == "ControlPlane":
        from dragoman.runtime.control_plane import ControlPlane

        return ControlPlane
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
