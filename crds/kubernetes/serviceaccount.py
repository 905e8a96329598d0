"""ServiceAccount (v1): the identity of pods."""

from typing import ClassVar

from crds.meta import KubernetesObject, Resource


class ServiceAccount(KubernetesObject, frozen=True, kw_only=True):
    resource: ClassVar = Resource("", "serviceaccounts", ("v1",), "v1", ("sa",))
