"""What routes of every protocol share: destinations, weights, gateways, subnets."""

from collections.abc import Iterator, Sequence

from crds.codes import problem
from crds.destination import Destination
from crds.problem import Problem
from crds.validate import bounds, names
from crds.virtualservice import HTTPRouteDestination, RouteDestination


def destination(held: Destination, path: str) -> Iterator[Problem]:
    if held.host == "*":
        yield problem("DRG0301", f"{path}.host", "a destination cannot be *", "name a service")
    else:
        yield from names.host(held.host, f"{path}.host", ip=True)
    if held.subset is not None and not names.is_dns_label(held.subset):
        yield problem("DRG0301", f"{path}.subset", f"{held.subset!r} is not the name of a subset")
    if held.port is not None:
        yield from bounds.port(held.port.number or 0, f"{path}.port.number")


def destinations(held: Sequence[HTTPRouteDestination | RouteDestination], path: str) -> Iterator[Problem]:
    """Destinations and weights; a sum of zero would match requests and send them nowhere (Istio: validateWeights)."""
    for index, route in enumerate(held):
        yield from destination(route.destination, f"{path}[{index}].destination")
        yield from bounds.not_negative(route.weight, f"{path}[{index}].weight")
    if len(held) > 1 and sum(route.weight or 0 for route in held) == 0:
        yield problem("DRG0305", path, "the weights of several destinations sum up to 0", "give each a weight")


def gateways(held: Sequence[str], path: str) -> Iterator[Problem]:
    """`mesh`, `name` or `namespace/name`."""
    for index, name in enumerate(held):
        namespace, slash, gateway = name.rpartition("/")
        if (slash and not names.is_dns_label(namespace)) or not names.is_fqdn(gateway):
            yield problem("DRG0301", f"{path}[{index}]", f"{name!r} is not a gateway", "name or namespace/name")


def subnets(held: Sequence[str], path: str) -> Iterator[Problem]:
    for index, block in enumerate(held):
        yield from bounds.cidr(block, f"{path}[{index}]")
