"""What a resource says it needs is what its message names, no more and no less: the streams order updates by it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dragoman.codec import CLUSTER, ENDPOINT, ROUTE, SECRET, Encoded, Ref, to_json
from tests.translators.golden import Case, cases, resources


def named(value: Any) -> Iterator[Ref]:
    """References in canonical JSON, wherever they stand."""
    match value:
        case {"sdsConfig": _, "name": str(name)}:
            yield SECRET, name
        case {"routeConfigName": str(name), "configSource": _}:
            yield ROUTE, name
    if isinstance(value, dict):
        for key, held in value.items():
            if key == "filterMetadata":  # `cluster` is that of Kubernetes there
                continue
            match key, held:
                case "cluster", str():
                    yield CLUSTER, held
                case "envoyGrpc", {"clusterName": name}:
                    yield CLUSTER, name
                case "weightedClusters", {"clusters": shares}:
                    yield from ((CLUSTER, share["name"]) for share in shares)
                case "edsClusterConfig", {"serviceName": name}:
                    yield ENDPOINT, name
            yield from named(held)
    elif isinstance(value, list):
        for held in value:
            yield from named(held)


def refs(resource: Encoded) -> set[Ref]:
    return set(named(to_json(resource.type_url, resource.payload)))


@pytest.mark.parametrize("case", cases(), ids=str)
def test_references_are_those_of_the_message(case: Case) -> None:
    found = [resource for kind in resources(case.mesh(), case.proxy).values() for resource in kind.values()]
    assert {r.name: r.refs for r in found} == {r.name: refs(r) for r in found}


@pytest.mark.parametrize("case", cases(), ids=str)
def test_what_a_proxy_gets_leads_nowhere_else(case: Case) -> None:
    """A cluster's endpoints and a listener's routes come with it; only routes may name what is not there (503)."""
    found = resources(case.mesh(), case.proxy)
    for kind, type_url in (("endpoints", ENDPOINT), ("routes", ROUTE)):
        wanted = {name for held in found.values() for r in held.values() for url, name in r.refs if url == type_url}
        assert wanted <= set(found[kind])
    wanted = {name for r in found["listeners"].values() for url, name in r.refs if url == CLUSTER}
    assert wanted <= set(found["clusters"])
