"""Which objects are named when a proxy rejects a resource."""

from __future__ import annotations

from typing import Any

from crds.meta import ObjectKey
from dragoman.codec import CLUSTER, LISTENER, ROUTE, Encoded, decode
from dragoman.runtime.blame import to_blame
from tests.runtime.test_runtime_control_plane import MESH, Running
from xds import Resource

TWO_RULES = (
    MESH
    + """
---
apiVersion: v1
kind: Service
metadata: {name: other, namespace: shop}
spec: {clusterIP: 10.96.0.2, selector: {app: other}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec: {hosts: [web], http: [{timeout: 1s, route: [{destination: {host: web}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: other, namespace: shop}
spec: {hosts: [other], http: [{timeout: 1s, route: [{destination: {host: other}}]}]}
"""
)
WEB, OTHER = (ObjectKey("VirtualService", "shop", name) for name in ("web", "other"))


class Rejected(Running):
    """A control plane with one proxy, and what would be said if it rejected a resource."""

    async def blamed(self, ref: tuple[str, str], change: Any = None) -> tuple[ObjectKey, ...]:
        """The objects to blame for `change` of a resource; for all of it, if there was nothing before."""
        session = await self.connect("web-1")
        for mounted in map(self.plane.mounted.get, session.keys):
            call, good = mounted.publication.owner(ref), mounted.view.get(ref)
            if call is not None and good is not None:
                message: Any = decode(ref[0], good.payload)
                if change is None:
                    return to_blame(self.plane.graph, call, good, None)
                change(message)
                bad = Resource.of(Encoded.of_payload(*ref, message.SerializeToString()))
                return to_blame(self.plane.graph, call, bad, good)
        raise AssertionError(f"there is no {ref}")


def host(routes: Any, name: str) -> Any:
    return next(each for each in routes.virtual_hosts if each.name.startswith(name))


async def test_of_routes_the_objects_of_the_virtual_hosts_that_changed() -> None:
    async with Rejected(TWO_RULES) as running:
        blamed = await running.blamed((ROUTE, "80"), lambda routes: host(routes, "web").domains.append("x"))
    assert blamed[0] == WEB, "what operators write comes first"
    assert ObjectKey("Service", "shop", "web") in blamed
    assert OTHER not in blamed


async def test_a_virtual_host_that_came_or_went_is_a_change() -> None:
    async with Rejected(TWO_RULES) as running:
        blamed = await running.blamed((ROUTE, "80"), lambda routes: routes.virtual_hosts.remove(host(routes, "other")))
    assert OTHER in blamed
    assert WEB not in blamed


async def test_all_objects_where_no_part_changed_or_nothing_was_good_before() -> None:
    async with Rejected(TWO_RULES) as running:
        outside = await running.blamed((ROUTE, "80"), lambda routes: routes.internal_only_headers.append("x"))
        new = await running.blamed((ROUTE, "80"))
    assert outside == new
    assert {WEB, OTHER} <= set(new)


async def test_of_listeners_the_objects_of_the_filter_chains_that_changed_whichever_of_a_name() -> None:
    policies = """
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: web, namespace: shop}
spec: {selector: {matchLabels: {app: web}}, mtls: {mode: PERMISSIVE}}
"""

    def first_chain_of_the_port(listener: Any) -> None:
        next(each for each in listener.filter_chains if each.name == "0.0.0.0_8080").metadata.SetInParent()

    async with Rejected(MESH + policies) as running:
        blamed = await running.blamed((LISTENER, "virtualInbound"), first_chain_of_the_port)
        whole = await running.blamed((LISTENER, "virtualInbound"))
    assert blamed[0] == ObjectKey("PeerAuthentication", "shop", "web")
    assert set(blamed) <= set(whole)


async def test_a_cluster_has_no_parts() -> None:
    ref = (CLUSTER, "outbound|80||web.shop.svc.cluster.local")
    async with Rejected(TWO_RULES) as running:
        assert await running.blamed(ref, lambda cluster: cluster.connect_timeout.Clear()) == await running.blamed(ref)
