"""What the observer of the streams counts and remembers."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from crds.meta import ObjectKey
from dragoman.codec import CLUSTER, ROUTE, Ref
from dragoman.runtime.blame import Origin, RejectedResource
from dragoman.runtime.observer import Nack, StreamObserver

RULE = Origin(ObjectKey("DestinationRule", "shop", "web"), "mesh.yaml:7")


def observed() -> tuple[StreamObserver, CollectorRegistry, list[Nack]]:
    told: list[Nack] = []

    def describe(proxy: str, ref: Ref) -> RejectedResource:
        return RejectedResource(ref[1], "v", (RULE,) if ref == (CLUSTER, "web") else (), True, None)

    registry = CollectorRegistry()
    return StreamObserver(registry, describe, told.append), registry, told


def test_counters_have_istios_names_without_a_suffix() -> None:
    observer, registry, _ = observed()
    observer.pushed("p", CLUSTER, 3, 100, 0.01)
    observer.pushed("p", ROUTE, 1, 10, 0.01)
    observer.pushed("p", ROUTE, 1, 10, 0.01)
    observer.nacked("p", ROUTE, (), "no")
    text = generate_latest(registry).decode()
    assert 'pilot_xds_pushes{type="cds"} 1.0' in text
    assert 'pilot_xds_pushes{type="rds"} 2.0' in text
    assert 'pilot_xds_pushes{type="eds"} 0.0' in text
    assert 'pilot_total_xds_rejects{type="rds"} 1.0' in text
    assert 'pilot_xds_rds_reject{node="p"} 1.0' in text
    assert registry.get_sample_value("dragoman_xds_resources_total", {"type": "cds"}) == 3
    assert registry.get_sample_value("dragoman_xds_bytes_total", {"type": "rds"}) == 20
    assert registry.get_sample_value("pilot_xds_push_time_sum", {"type": "rds"}) == 0.02


def test_acceptance_and_waits_are_measured() -> None:
    observer, registry, _ = observed()
    observer.acked("p", CLUSTER, 0.2)
    observer.waited("p", ROUTE, ("a", "b"))
    assert registry.get_sample_value("pilot_proxy_convergence_time_bucket", {"le": "0.1"}) == 0
    assert registry.get_sample_value("pilot_proxy_convergence_time_bucket", {"le": "0.3"}) == 1
    assert registry.get_sample_value("dragoman_xds_waits_given_up_total", {"type": "rds"}) == 2


def test_a_rejection_is_told_with_the_objects_each_resource_was_made_from() -> None:
    observer, _, told = observed()
    observer.nacked("p", CLUSTER, ("web", "other"), "not like this")
    (nack,) = told
    assert (nack.proxies, nack.type_url, nack.message) == (("p",), CLUSTER, "not like this")
    assert {resource.name: resource.made_from for resource in nack.resources} == {"web": (RULE,), "other": ()}
    assert str(RULE) == "DestinationRule shop/web (mesh.yaml:7)"


def test_what_several_proxies_reject_is_told_once_and_names_them_all() -> None:
    observer, registry, told = observed()
    for proxy in ("p", "q", "p"):
        observer.nacked(proxy, CLUSTER, ("web",), "not like this")
    observer.nacked("q", CLUSTER, ("other",), "nor this")
    assert [nack.message for nack in told] == ["not like this", "nor this"]
    assert [nack.proxies for nack in observer.nacks] == [("p", "q"), ("q",)]
    assert registry.get_sample_value("pilot_xds_cds_reject", {"node": "p"}) == 2


def test_what_each_proxy_alone_does_without_is_told_of_each() -> None:
    told: list[Nack] = []
    describe = lambda proxy, ref: RejectedResource(ref[1], "v", (), False, None)  # noqa: E731
    observer = StreamObserver(CollectorRegistry(), describe, told.append)
    for proxy in ("p", "q", "q"):
        observer.nacked(proxy, CLUSTER, ("web",), "cannot bind")
    assert [nack.proxies for nack in told] == [("p",), ("q",)]


def test_only_the_latest_rejections_are_remembered() -> None:
    observer, _, told = observed()
    for number in range(1000):
        observer.nacked("p", CLUSTER, (), str(number))
    assert len(told) == 1000
    assert len(observer.nacks) < 1000
    assert observer.nacks[-1].message == "999"
