"""Where traffic goes: a service of the mesh, perhaps a subset and a port of it."""

from crds.model import Message
from crds.scalars import UInt32


class PortSelector(Message, frozen=True):
    number: UInt32 | None = None


class Destination(Message, frozen=True):
    """`host` is a name of the service registry; a short name is resolved in the namespace of the rule."""

    host: str
    subset: str | None = None
    port: PortSelector | None = None
