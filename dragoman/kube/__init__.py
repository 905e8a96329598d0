"""The Kubernetes API as it is over HTTP: requests, resources, errors. Knows nothing of meshes."""

from dragoman.kube.cluster import Cluster
from dragoman.kube.connection import ConnectionConfigError, in_a_pod
from dragoman.kube.errors import ApiError
from dragoman.kube.resource import ApiResource

__all__ = ["ApiError", "ApiResource", "Cluster", "ConnectionConfigError", "in_a_pod"]
