"""The Gateway API way of attaching a policy: to a named object rather than to labels."""

from typing import Annotated

from msgspec import Meta

from crds.model import Message
from crds.scalars import NonEmpty253

_GROUP = r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_KIND = r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$"


class PolicyTargetReference(Message, frozen=True):
    """A Gateway, GatewayClass, Service or ServiceEntry; a namespace other than the policy's own is not allowed."""

    kind: Annotated[str, Meta(min_length=1, max_length=63, pattern=_KIND)]
    name: NonEmpty253
    group: Annotated[str, Meta(max_length=253, pattern=_GROUP)] | None = None
    namespace: str | None = None

    @property
    def is_gateway(self) -> bool:
        """Whether a Gateway of the Gateway API is meant; Istio's own kind of that name is no target."""
        return (self.group, self.kind) == ("gateway.networking.k8s.io", "Gateway")
