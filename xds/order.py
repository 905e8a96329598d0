"""In which order types are sent, what waits for what, and for how long.

xDS protocol, "Eventual consistency considerations": to avoid dropping traffic, make before break. Clusters and their
endpoints come first, then the listeners and routes that name them, and what nothing names any more goes last.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from dragoman.codec import CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, ROUTE, SECRET

UPDATES: Final = (CLUSTER, ENDPOINT, SECRET, EXTENSION_CONFIG, LISTENER, ROUTE)
"""Order of updates. Types that are not listed follow in the order in which they were subscribed."""

AWAITS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {LISTENER: (CLUSTER, ROUTE), ROUTE: (CLUSTER,), EXTENSION_CONFIG: (CLUSTER,)}
)
"""An update of the left type waits until the client has ACKed the resources of the right types that it refers to.

Only clusters are waited for, and routes of which the client still has an older version that the listener would begin
with: others, endpoints and secrets are subscribed by whoever refers to them, afterwards.
"""

REFERRERS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        ROUTE: (LISTENER,),
        EXTENSION_CONFIG: (LISTENER,),
        CLUSTER: (LISTENER, ROUTE, EXTENSION_CONFIG),
        ENDPOINT: (CLUSTER,),
        SECRET: (CLUSTER, LISTENER),
    }
)
"""A resource of the left type is removed only when nothing of the right types that the client holds refers to it."""

ALONE: Final = frozenset((SECRET,))
"""Types of which a response carries one resource only. Envoy's NACK of a secret does not say which, and asked again it
ACKs the very bytes it has rejected, because it compares their hash with the last it was given (Envoy: sds_api.cc): the
culprit could not be found afterwards."""

WHOLE: Final = frozenset((CLUSTER, LISTENER))
"""Types of which a state-of-the-world response carries everything: what it leaves out is removed. Of the others it may
carry some (xDS protocol, "Resource Updates")."""

KEPT: Final = frozenset((ROUTE,))
"""Types whose removal Envoy ignores (rds_route_config_subscription.cc): it keeps the resource as long as it subscribes
it, and a listener that drains subscribes its routes for minutes. Another that names the route begins with the old
one."""

WILDCARD_BY_DEFAULT: Final = frozenset((CLUSTER, LISTENER))
"""Types whose first request means everything when it names nothing (xDS protocol: legacy wildcard)."""

_LINGER: Final[Mapping[str, float]] = MappingProxyType({CLUSTER: 10.0, ROUTE: 10.0})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a stream waits, in seconds."""

    linger: Mapping[str, float] = field(default_factory=lambda: _LINGER, hash=False)
    """By type: how long an unreferenced resource stays. A request that is delayed or retried still holds its old
    cluster, and fails at once if that goes right after the ACK of the new route. It also bridges a reconnect, until the
    client has said which listeners and routes it holds."""
    wait: float = 15.0
    """For an ACK that a step depends on; then it is taken all the same, and counted. Envoy itself gives up waiting
    after the same time (`initial_fetch_timeout`)."""

    def lingers(self, type_url: str) -> float:
        return self.linger.get(type_url, 0.0)
