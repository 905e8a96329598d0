"""The xDS server: views of resources, sans-io stream machines, and the gRPC pump around them."""

from xds.delta import DeltaStream
from xds.event import Acked, Event, Nacked, Response, Stale, Subscribed
from xds.memory import Memory
from xds.order import Patience
from xds.quarantine import Blocked, Rejection
from xds.request import DeltaRequest, Node, SotwRequest
from xds.resource import Resource
from xds.server import Limits, XdsServer
from xds.session import Authenticate, Authorize, Connect, Peer, Refused, Session
from xds.sotw import SotwStream
from xds.status import ConnectionStatus, Lingering, Observer, Progress, TypeStatus, Unobserved, Waiting
from xds.stream import Stream
from xds.tls_listener import TlsLimits, modern
from xds.view import View

__all__ = [
    "Acked",
    "Authenticate",
    "Authorize",
    "Blocked",
    "Connect",
    "ConnectionStatus",
    "DeltaRequest",
    "DeltaStream",
    "Event",
    "Limits",
    "Lingering",
    "Memory",
    "Nacked",
    "Node",
    "Observer",
    "Patience",
    "Peer",
    "Progress",
    "Refused",
    "Rejection",
    "Resource",
    "Response",
    "Session",
    "SotwRequest",
    "SotwStream",
    "Stale",
    "Stream",
    "Subscribed",
    "TlsLimits",
    "TypeStatus",
    "Unobserved",
    "View",
    "Waiting",
    "XdsServer",
    "modern",
]
