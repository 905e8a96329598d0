"""The running control plane: what ties sources, mesh, translators, certificates and streams together."""

from dragoman.runtime.control_plane import ControlPlane

__all__ = ["ControlPlane"]
