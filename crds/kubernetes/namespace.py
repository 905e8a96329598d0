"""Namespace (v1): its labels decide on injection, discovery and network."""

from typing import ClassVar

from crds.meta import KubernetesObject, Resource


class Namespace(KubernetesObject, frozen=True, kw_only=True):
    resource: ClassVar = Resource("", "namespaces", ("v1",), "v1", ("ns",), namespaced=False)
