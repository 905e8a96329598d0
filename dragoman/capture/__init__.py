"""Capture: a pod's TCP traffic goes through its Envoy, by rules of the kernel in the pod's network namespace.

Nothing here has a library but Python's own: it runs in init containers and, as a CNI plugin, on nodes.
"""

from dragoman.capture.rules import INBOUND_SOURCES, Family
from dragoman.capture.settings import ALL, Capture, CaptureError

__all__ = ["ALL", "INBOUND_SOURCES", "Capture", "CaptureError", "Family"]
