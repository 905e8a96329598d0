"""Which resources of a proxy are shown: the filters of istioctl's `proxy-config`, empty ones let everything through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from dragoman.cli.inspect.config_dump import Resource, canonical
from dragoman.cli.inspect.config_tables import Content, Entry, address_text, cluster_name, listener_addresses

Filter = Callable[[list[Resource]], list[Resource]]


def clusters(*, fqdn: str | None, port: int | None, subset: str | None, direction: str | None) -> Filter:
    """Clusters by the parts of their names; the host by a part of it."""

    def matches(content: Content) -> bool:
        name = cluster_name(content["name"])
        return (
            (fqdn is None or fqdn in name.host)
            and (port is None or name.port == str(port))
            and (subset is None or name.subset == subset)
            and (direction is None or name.direction == direction)
        )

    return _those(matches)


def listeners(*, address: str | None, port: int | None, type_: str | None) -> Filter:
    """Listeners by where they listen, and what they speak: `HTTP`, `TCP` or `HTTP+TCP`."""

    def matches(content: Content) -> bool:
        at, bound = listener_addresses(content)
        return (
            (address is None or address in at)
            and (port is None or bound == str(port))
            and (type_ is None or listener_type(content) == type_.upper())
        )

    return _those(matches)


def listener_type(listener: Content) -> str:
    """What the filter chains of a listener speak, `UNKNOWN` where that is neither HTTP nor TCP."""
    chains = [*listener.get("filterChains", ()), listener.get("defaultFilterChain", {})]
    kinds = [each.get("typedConfig", {}).get("@type", "") for chain in chains for each in chain.get("filters", ())]
    found = [
        name
        for name, ending in (("HTTP", ".HttpConnectionManager"), ("TCP", ".TcpProxy"))
        if any(kind.endswith(ending) for kind in kinds)
    ]
    return "+".join(found) or "UNKNOWN"


def routes(*, name: str | None) -> Filter:
    """Route configurations by name."""
    return _those(lambda content: name is None or content.get("name") == name)


def endpoints(*, address: str | None, port: int | None, cluster: str | None, status: str | None) -> Filter:
    """Endpoints by address, port and health, and the clusters that have such; a cluster by its name."""

    def matches(of: Content, health: str) -> bool:
        socket = of.get("socketAddress", {})
        return (
            (address is None or address in (socket.get("address"), address_text(of)))
            and (port is None or socket.get("portValue") == port)
            and (status is None or health.upper() == status.upper())
        )

    def host(entry: Any) -> bool:
        seen = canonical(entry)
        return matches(seen["address"], seen.get("healthStatus", {}).get("edsHealthStatus", "UNKNOWN"))

    def endpoint(entry: Any) -> bool:
        seen = canonical(entry)
        of = seen.get("endpoint", {}).get("address", {})
        return matches(of, seen.get("healthStatus", "UNKNOWN"))

    def left(each: Resource) -> Resource | None:
        content = each.entry.content
        if cluster is not None and cluster not in (content.get("clusterName"), content.get("name")):
            return None
        if address is None and port is None and status is None:
            return each
        written = _pruned(
            each.written,
            {"host_statuses": host, "hostStatuses": host, "lb_endpoints": endpoint, "lbEndpoints": endpoint},
        )
        entry = Entry(canonical(written), each.entry.state)
        places = entry.content.get("endpoints", ())
        some = entry.content.get("hostStatuses") or any(place.get("lbEndpoints") for place in places)
        return Resource(written, entry) if some else None

    return lambda found: list(_present(map(left, found)))


def everything(found: list[Resource]) -> list[Resource]:
    """All of them."""
    return found


def _those(matches: Callable[[Content], bool]) -> Filter:
    return lambda found: [each for each in found if matches(each.entry.content)]


def _present(found: Iterable[Resource | None]) -> Iterator[Resource]:
    return (each for each in found if each is not None)


def _pruned(written: Any, lists: Mapping[str, Callable[[Any], bool]]) -> Any:
    """The same with only those entries of the lists of these names that are wanted."""
    if isinstance(written, Mapping):
        return {
            key: [item for item in value if lists[key](item)] if key in lists else _pruned(value, lists)
            for key, value in written.items()
        }
    if isinstance(written, list):
        return [_pruned(item, lists) for item in written]
    return written
