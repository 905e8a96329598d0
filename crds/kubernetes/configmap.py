"""ConfigMap (v1)."""

from typing import ClassVar

from msgspec import field

from crds.meta import KubernetesObject, Resource


class ConfigMap(KubernetesObject, frozen=True, kw_only=True):
    resource: ClassVar = Resource("", "configmaps", ("v1",), "v1", ("cm",))
    data: dict[str, str] = field(default_factory=dict)
