"""What an xDS resource makes its client ask for: names of other resources, out of its canonical JSON.

The server knows the references of its own resources from their making; this is for clients, which have only the bytes
(Envoy: an EDS cluster subscribes its assignment, a listener its route configurations, whoever speaks TLS its secrets).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from dragoman.codec import CLUSTER, ENDPOINT, EXTENSION_CONFIG, ROUTE, SECRET, Ref


def references(type_url: str, resource: Mapping[str, Any]) -> frozenset[Ref]:
    """Return the resources that this one refers to, as far as they come over xDS."""
    found = set(_walk(resource))
    if type_url == CLUSTER and resource.get("type") == "EDS":
        found.add((ENDPOINT, resource.get("edsClusterConfig", {}).get("serviceName") or resource["name"]))
    return frozenset(found)


def _walk(value: Any) -> Iterator[Ref]:
    if isinstance(value, Mapping):
        if "rds" in value and "routeConfigName" in value["rds"]:
            yield ROUTE, value["rds"]["routeConfigName"]
        if "sdsConfig" in value and "name" in value:
            yield SECRET, value["name"]
        if "configDiscovery" in value and "name" in value:
            yield EXTENSION_CONFIG, value["name"]
        for child in value.values():
            yield from _walk(child)
    elif isinstance(value, list):
        for child in value:
            yield from _walk(child)
