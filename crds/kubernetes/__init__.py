"""Kubernetes' own kinds, reduced to what a mesh control plane reads; all other fields are skipped."""

from crds.kubernetes.clustertrustbundle import ClusterTrustBundle
from crds.kubernetes.configmap import ConfigMap
from crds.kubernetes.endpoints import Endpoints
from crds.kubernetes.endpointslice import EndpointSlice
from crds.kubernetes.ingress import Ingress, IngressClass
from crds.kubernetes.namespace import Namespace
from crds.kubernetes.node import Node
from crds.kubernetes.pod import Pod
from crds.kubernetes.secret import Secret
from crds.kubernetes.service import Service
from crds.kubernetes.serviceaccount import ServiceAccount

__all__ = [
    "ClusterTrustBundle",
    "ConfigMap",
    "EndpointSlice",
    "Endpoints",
    "Ingress",
    "IngressClass",
    "Namespace",
    "Node",
    "Pod",
    "Secret",
    "Service",
    "ServiceAccount",
]
