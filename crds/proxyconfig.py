"""ProxyConfig: settings a proxy starts with."""

from typing import ClassVar

from msgspec import field

from crds.meta import IstioObject, Resource
from crds.model import Message
from crds.scalars import NonNegativeInt32
from crds.selector import WorkloadSelector


class ProxyImage(Message, frozen=True):
    image_type: str | None = None


class ProxyConfigSpec(Message, frozen=True):
    """`concurrency` is the number of Envoy's worker threads, 0 for all cores."""

    selector: WorkloadSelector | None = None
    concurrency: NonNegativeInt32 | None = None
    environment_variables: dict[str, str] = field(default_factory=dict)
    image: ProxyImage | None = None


class ProxyConfig(IstioObject, frozen=True, kw_only=True):
    resource: ClassVar = Resource("networking.istio.io", "proxyconfigs", ("v1beta1",), "v1beta1")
    spec: ProxyConfigSpec
