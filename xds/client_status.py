"""What each client was sent and has accepted, in the words of the client status discovery service (CSDS).

Per resource, as a management server knows it (Envoy: envoy/service/status/v3/csds.proto): `config_status` is SYNCED
when the client has ACKed what is served, STALE when it was sent and not answered, NOT_SENT when it was not sent yet,
ERROR when the client, or another that gets the same, has rejected what is wanted. Contents of secrets are left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from envoy_data_plane.envoy.admin.v3 import ClientResourceStatus
from envoy_data_plane.envoy.config.core.v3 import Locality
from envoy_data_plane.envoy.config.core.v3 import Node as NodeMessage
from envoy_data_plane.envoy.service.status.v3 import ConfigStatus

from dragoman.codec import SECRET, encode, frame
from dragoman.codec.wire import VARINT, tag, varint
from xds.client import Client
from xds.delivery import Delivery
from xds.request import Node
from xds.resource import Resource

GENERIC_XDS_CONFIGS: Final = 3
"""Field of a ClientConfig."""
_NOTHING: Final[tuple[str | None, str]] = (None, "")


@dataclass(frozen=True, slots=True)
class ResourceStatus:
    """One resource of one client."""

    type_url: str
    name: str
    config: ConfigStatus
    client: ClientResourceStatus
    served: Resource | None
    """What is served under the name; None where there is nothing."""
    error: str = ""
    """Why something else than what is wanted is served, or this client does without it; in Envoy's words."""
    rejected: str = ""
    """The version that was rejected."""
    at: float | None = None
    """When the type was last ACKed, in seconds since the epoch."""


def statuses(client: Client, *, clock: float, now: float) -> Iterator[ResourceStatus]:
    """Yield the state of every resource that a client has asked for; `clock` is its stream's time, `now` the wall's."""
    client.read_logs()
    for delivery in client.types.values():
        at = None if delivery.acked_at is None else now - (clock - delivery.acked_at)
        errors = _errors(client, delivery)
        for name in sorted(_names(client, delivery)):
            yield _status(client, delivery, name, errors.get(name, _NOTHING), at)


def _names(client: Client, delivery: Delivery) -> set[str]:
    names = set(delivery.subscription.names.values)
    if delivery.subscription.wildcard:
        for view in client.views:
            names.update(view.table(delivery.type_url))
            names.update(name for type_url, name in view.blocked() if type_url == delivery.type_url)
    return names


def _errors(client: Client, delivery: Delivery) -> dict[str, tuple[str | None, str]]:
    """Return by name the version that was rejected and why."""
    found: dict[str, tuple[str | None, str]] = {}
    for view in client.views:
        for (type_url, name), blocked in view.blocked().items():
            if type_url == delivery.type_url:
                found[name] = (blocked.wanted.version, _words(blocked.reason))
    return found | delivery.refused


def _words(reason: object) -> str:
    if isinstance(reason, tuple):
        type_url, name = reason
        return f"it needs {type_url.rpartition('.')[2]} {name!r}, which is held back"
    return str(getattr(reason, "message", reason))


def _status(
    client: Client, delivery: Delivery, name: str, error: tuple[str | None, str], at: float | None
) -> ResourceStatus:
    served = client.served(delivery.type_url, name)
    rejected, words = error
    if words:
        config, seen = ConfigStatus.ERROR, ClientResourceStatus.NACKED
    elif name not in delivery.behind and name not in delivery.waits:
        config = ConfigStatus.SYNCED
        seen = ClientResourceStatus.DOES_NOT_EXIST if served is None else ClientResourceStatus.ACKED
    else:
        sent = delivery.inflight is not None and any(each.name == name for each in delivery.inflight.resources)
        config = ConfigStatus.STALE if sent else ConfigStatus.NOT_SENT
        seen = ClientResourceStatus.REQUESTED if delivery.behind.get(name) is None else ClientResourceStatus.ACKED
    return ResourceStatus(delivery.type_url, name, config, seen, served, words, rejected or "", at)


def encode_status(status: ResourceStatus, *, contents: bool) -> bytes:
    """Encode a status as a field of a ClientConfig, from the resource's ready bytes.

    Fields of GenericXdsConfig: type_url = 1, name = 2, version_info = 3, xds_config = 4, last_updated = 5,
    config_status = 6, client_status = 7, error_state = 8; of UpdateFailureState: details = 3, version_info = 4.
    """
    parts = [frame(1, status.type_url.encode()), frame(2, status.name.encode())]
    if status.served is not None:
        parts.append(frame(3, status.served.version.encode()))
        if contents and status.type_url != SECRET:
            parts.append(frame(4, frame(1, status.type_url.encode()) + frame(2, status.served.payload)))
    if status.at is not None:
        parts.append(frame(5, tag(1, VARINT) + varint(int(status.at))))
    parts.append(tag(6, VARINT) + varint(status.config.value))
    parts.append(tag(7, VARINT) + varint(status.client.value))
    if status.error:
        parts.append(frame(8, frame(3, status.error.encode()) + frame(4, status.rejected.encode())))
    return frame(GENERIC_XDS_CONFIGS, b"".join(parts))


def encode_node(node: Node) -> bytes:
    """Encode who a client is as a field of a ClientConfig; of its metadata nothing, which may be secret."""
    message = NodeMessage(
        id=node.id,
        cluster=node.cluster,
        user_agent_name=node.user_agent,
        locality=Locality(region=node.region, zone=node.zone, sub_zone=node.sub_zone),
    )
    return frame(1, encode(message))
