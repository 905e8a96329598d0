"""What the graph costs at the size of a mesh: `python -m tests.engine.bench_engine [services]`.

The shape is that of a mesh: per service a cell, its endpoints, lookups of rules that are mostly absent, and as leaves
a cluster, an assignment and a virtual host; leaves in chunks per namespace, as views have them.
"""

from __future__ import annotations

import gc
import resource
import statistics
import sys
import time
from collections.abc import Callable

from dragoman.engine import Graph, Input, Tree, query

NAMESPACES = 50

Name = tuple[str, str]
SERVICES = Input[str, tuple[str, ...]]("services", default=())
SERVICE = Input[Name, tuple[object, ...]]("service", default=())
SLICES = Input[Name, tuple[str, ...]]("slices", default=())
RULES = Input[tuple[str, str], str | None]("destination rules", default=None)
ROUTES = Input[str, str | None]("virtual services", default=None)


@query
def rule(g: Graph, scope: str, ns: str, name: str) -> str | None:
    host = f"{name}.{ns}.svc.cluster.local"
    return RULES(g, (scope, host)) or RULES(g, (ns, host)) or RULES(g, ("istio-system", host))


@query
def route(g: Graph, scope: str, ns: str, name: str) -> str | None:
    return ROUTES(g, f"{name}.{ns}.svc.cluster.local")


@query
def endpoints(g: Graph, ns: str, name: str) -> tuple[str, ...]:
    return SLICES(g, (ns, name))


@query
def cluster(g: Graph, scope: str, ns: str, name: str) -> bytes:
    port = SERVICE(g, (ns, name))[2:3]
    return f"outbound|{port}||{name}.{ns}.{rule(g, scope, ns, name)}".encode() * 5


@query
def assignment(g: Graph, ns: str, name: str) -> bytes:
    return str(endpoints(g, ns, name)).encode() * 5


@query
def virtual_host(g: Graph, scope: str, ns: str, name: str) -> bytes:
    return f"{SERVICE(g, (ns, name))[1:2]}.{route(g, scope, ns, name)}".encode() * 5


@query
def chunk(g: Graph, scope: str, ns: str) -> Tree:
    names = SERVICES(g, ns)
    return Tree(
        call
        for name in names
        for call in (cluster.call(scope, ns, name), assignment.call(ns, name), virtual_host.call(scope, ns, name))
    )


@query
def view(g: Graph, scope: str) -> Tree:
    return Tree(chunk.call(scope, f"ns{i}") for i in range(NAMESPACES))


def mesh(services: int) -> Graph:
    """A graph with the inputs of that many services and nothing observed."""
    g = Graph()
    names: dict[str, list[str]] = {}
    for i in range(services):
        names.setdefault(f"ns{i % NAMESPACES}", []).append(f"svc{i}")
    transaction = g.transaction()
    for ns, members in names.items():
        transaction.set(SERVICES, ns, tuple(members))
        for name in members:
            transaction.set(SERVICE, (ns, name), (ns, name, 80))
            transaction.set(SLICES, (ns, name), ("10.0.0.1", "10.0.0.2"))
    for _ in transaction.run():
        pass
    return g


def megabytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() >> 20


def main(services: int) -> None:
    def say(text: str) -> None:
        sys.stdout.write(text + "\n")

    def timed(label: str, act: Callable[[], object]) -> None:
        before, begin = megabytes(), time.perf_counter()
        act()
        seconds = time.perf_counter() - begin
        numbers = g.statistics()
        say(f"{label:32} {seconds:6.2f} s {numbers.nodes:8} nodes {numbers.edges:8} edges {megabytes() - before:5} MB")

    def changes(label: str, change: Callable[[int], None], times: int = 200) -> None:
        taken = []
        computed = g.statistics().computed
        for i in range(times):
            begin = time.perf_counter()
            change(i)
            taken.append(time.perf_counter() - begin)
        ran = (g.statistics().computed - computed) / times
        say(
            f"{label:32} median {statistics.median(taken) * 1e6:9.1f} µs  max {max(taken) * 1e6:9.1f} µs  ran {ran:.1f}"
        )

    begin = time.perf_counter()
    g = mesh(services)
    say(f"{'inputs':32} {time.perf_counter() - begin:6.2f} s {megabytes()} MB in all")
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    timed("first view", lambda: g.mount(view.call("ns0")))
    timed("second view", lambda: g.mount(view.call("ns1")))
    timed("first view, mounted again", lambda: g.mount(view.call("ns0")))
    host = "svc7.ns7.svc.cluster.local"
    one = ("ns1", "svc1")
    changes("endpoint changed", lambda i: g.update({(SLICES, one): ("10.0.0.1", f"10.1.0.{i}")}))
    changes("rule of a service", lambda i: g.update({(RULES, ("ns7", host)): f"r{i}" if i % 2 else None}))
    changes("route of a service", lambda i: g.update({(ROUTES, host): f"r{i}"}))
    changes("equal value", lambda _: g.update({(SERVICE, one): ("ns1", "svc1", 80)}))
    changes("field nobody's output needs", lambda i: g.update({(SERVICE, one): ("ns1", "svc1", 80, i)}))
    members = tuple(f"svc{i}" for i in range(2, services, NAMESPACES))
    changes("service added", lambda i: g.update({(SERVICES, "ns2"): (*members, f"new{i}")}), 50)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
