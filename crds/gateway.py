"""Gateway: ports, hosts and certificates at the edge of the mesh."""

from typing import Annotated, ClassVar

from msgspec import field

from crds.limits import MANY
from crds.meta import IstioObject, Resource
from crds.model import Message
from crds.scalars import UInt32
from crds.servertls import ServerTLSSettings


class Port(Message, frozen=True):
    """`protocol` is one of HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP, TLS."""

    number: UInt32
    protocol: str
    name: str
    target_port: UInt32 | None = None  # deprecated


class Server(Message, frozen=True):
    """`hosts` are `[namespace/]dnsName`: which VirtualServices may bind to this server."""

    port: Port
    hosts: tuple[str, ...]
    bind: str | None = None
    tls: ServerTLSSettings | None = None
    default_endpoint: str | None = None  # in the API, read by nobody
    name: str | None = None


class GatewaySpec(Message, frozen=True):
    """`selector` picks gateway workloads by label; an empty one picks every gateway."""

    servers: Annotated[tuple[Server, ...], MANY] = ()
    selector: dict[str, str] = field(default_factory=dict)


class Gateway(IstioObject, frozen=True, kw_only=True):
    resource: ClassVar = Resource("networking.istio.io", "gateways", ("v1", "v1beta1", "v1alpha3"), "v1", ("gw",))
    spec: GatewaySpec
