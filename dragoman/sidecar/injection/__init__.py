"""Sidecars for pods: a pure function from a pod to the pod with its sidecar."""

from dragoman.sidecar.injection.inject import Injected, NotInjected, inject
from dragoman.sidecar.injection.settings import ENVOY_IMAGE, InjectionSettings, NamespaceFacts, ProxyResources
from dragoman.sidecar.injection.workload import Workload

__all__ = [
    "ENVOY_IMAGE",
    "Injected",
    "InjectionSettings",
    "NamespaceFacts",
    "NotInjected",
    "ProxyResources",
    "Workload",
    "inject",
]
