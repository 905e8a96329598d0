"""Objects from a Kubernetes API server: the source of a control plane in a cluster."""

from dragoman.sources.kubernetes.source import KubernetesSource

__all__ = ["KubernetesSource"]
