"""WorkloadEntry, also as the endpoint of a ServiceEntry (Istio: validateWorkloadEntry)."""

from collections.abc import Iterator

from crds.codes import problem
from crds.problem import Problem
from crds.validate import bounds, names
from crds.workloadentry import WorkloadEntry, WorkloadEntrySpec


def check(obj: WorkloadEntry) -> Iterator[Problem]:
    yield from workload_entry(obj.spec, "spec")


def workload_entry(entry: WorkloadEntrySpec, path: str) -> Iterator[Problem]:
    address = entry.address or ""
    if address.startswith("unix://"):
        socket = address.removeprefix("unix://")
        if not socket.startswith(("/", "@")):
            yield problem("DRG0310", f"{path}.address", f"{address!r} is not an absolute path", "unix:///path")
        elif socket.startswith("/") and socket.endswith("/"):
            yield problem("DRG0310", f"{path}.address", f"{address!r} is a folder", "unix:///folder/socket")
        if entry.ports:
            yield problem("DRG0311", f"{path}.ports", "a UNIX socket has no ports", "remove them")
    elif not address:
        if not entry.network:
            yield problem("DRG0308", f"{path}.address", "an endpoint needs an address, or the network it is behind")
    else:
        yield from names.host(address, f"{path}.address", wildcard=False, ip=True)
    for name, number in entry.ports.items():
        if not names.is_dns_label(name):
            yield problem("DRG0301", f"{path}.ports[{name}]", f"{name!r} is not the name of a port")
        yield from bounds.port(number, f"{path}.ports[{name}]")
    yield from names.labels(entry.labels, f"{path}.labels")
