"""Ingress and IngressClass (networking.k8s.io/v1)."""

from typing import ClassVar

from msgspec import field

from crds.kubernetes.part import Part
from crds.meta import KubernetesObject, Resource


class ServiceBackendPort(Part, frozen=True):
    """One of the two."""

    number: int = 0
    name: str = ""


class IngressServiceBackend(Part, frozen=True):
    name: str
    port: ServiceBackendPort = ServiceBackendPort()


class IngressBackend(Part, frozen=True):
    """Without `service` it is a resource of some other kind, which is of no use to us."""

    service: IngressServiceBackend | None = None


class HTTPIngressPath(Part, frozen=True):
    """`path_type` is Exact, Prefix or ImplementationSpecific."""

    path: str = ""
    path_type: str = "ImplementationSpecific"
    backend: IngressBackend = IngressBackend()


class HTTPIngressRuleValue(Part, frozen=True):
    paths: tuple[HTTPIngressPath, ...] = ()


class IngressRule(Part, frozen=True):
    """`host` may begin with `*.`; empty is every host."""

    host: str = ""
    http: HTTPIngressRuleValue | None = None


class IngressTLS(Part, frozen=True):
    hosts: tuple[str, ...] = ()
    secret_name: str = ""


class IngressSpec(Part, frozen=True):
    ingress_class_name: str | None = None
    default_backend: IngressBackend | None = None
    tls: tuple[IngressTLS, ...] = ()
    rules: tuple[IngressRule, ...] = ()


class Ingress(KubernetesObject, frozen=True, kw_only=True):
    resource: ClassVar = Resource("networking.k8s.io", "ingresses", ("v1",), "v1", ("ing",))
    spec: IngressSpec = IngressSpec()


class IngressClassSpec(Part, frozen=True):
    controller: str = ""


class IngressClass(KubernetesObject, frozen=True, kw_only=True):
    """`controller` names who sees to Ingresses of this class."""

    resource: ClassVar = Resource("networking.k8s.io", "ingressclasses", ("v1",), "v1", namespaced=False)
    spec: IngressClassSpec = field(default=IngressClassSpec())
