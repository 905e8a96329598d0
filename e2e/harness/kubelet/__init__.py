"""A node of a real Kubernetes API server whose pods are network namespaces with programs of this machine.

The API server and its controllers are real; what is played is the scheduler, the kubelet, kube-proxy and the cluster's
DNS, by their documented behaviour (Kubernetes: Pod Lifecycle, Sidecar Containers, Virtual IPs, DNS for Services).
"""

from e2e.harness.kubelet.images import Image, images
from e2e.harness.kubelet.kubelet import Kubelet
from e2e.harness.kubelet.watching import Watched

__all__ = ["Image", "Kubelet", "Watched", "images"]
