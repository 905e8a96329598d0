"""Which keys a proxy gets, from whom, and what a change of them changes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dragoman.codec import CLUSTER, LISTENER, to_json
from dragoman.mesh.inputs import JWKS, JWKS_FETCHER, KeyFetcher
from dragoman.mesh.request_authentications import KeySource, key_servers, key_uses
from tests.support.json_web_keys import key_set, signing_key
from tests.support.mesh_of_yaml import Mesh, pod, service
from tests.translators.golden import resources
from translators.jwt_authn import NOBODYS_KEYS

REVIEWS, RATINGS = (
    f"sidecar~10.0.0.{number}~{name}-1.shop~shop.svc.cluster.local" for number, name in ((2, "reviews"), (3, "ratings"))
)
WORLD = (
    pod("reviews-1", "10.0.0.2")
    + pod("ratings-1", "10.0.0.3")
    + service("reviews")
    + service("ratings", clusterIP="10.96.0.2")
    + service(
        "keys",
        namespace="idp",
        clusterIP="10.96.0.3",
        ports="[{name: http, port: 80}, {name: udp, port: 53, protocol: UDP}]",
    )
    + """
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow, namespace: shop}
spec: {egress: [{hosts: ["./*"]}]}
"""
)
OUTSIDE = KeySource("https://login.example.org/keys", discovered=False)
INSIDE = "http://keys.idp.svc.cluster.local/keys"


def authentication(app: str, **rule: Any) -> str:
    spec = {"selector": {"matchLabels": {"app": app}}, "jwtRules": [{"issuer": "https://login.example.org", **rule}]}
    return f"""
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: {app}, namespace: shop}}
spec: {json.dumps(spec)}
"""


def listeners(mesh: Mesh, proxy: str) -> dict[str, bytes]:
    return {name: found.payload for name, found in resources(mesh, proxy)["listeners"].items()}


def providers(mesh: Mesh, proxy: str) -> list[dict[str, Any]]:
    """The distinct providers of a proxy's JWT filters."""
    found: list[dict[str, Any]] = []
    for payload in listeners(mesh, proxy).values():
        for chain in to_json(LISTENER, payload).get("filterChains", []):
            for network in chain["filters"]:
                for http in network["typedConfig"].get("httpFilters", []):
                    found += [p for p in http["typedConfig"].get("providers", {}).values() if p not in found]
    return found


def test_fetched_keys_change_the_listeners_that_use_them_and_no_others() -> None:
    mesh = Mesh(WORLD + authentication("reviews", jwksUri=OUTSIDE.uri))
    before = {proxy: listeners(mesh, proxy) for proxy in (REVIEWS, RATINGS)}
    (provider,) = providers(mesh, REVIEWS)
    assert provider["localJwks"]["inlineString"] == NOBODYS_KEYS
    fetched = key_set(signing_key("a"))
    mesh.graph.apply([(JWKS, OUTSIDE, fetched)])
    (provider,) = providers(mesh, REVIEWS)
    assert provider["localJwks"]["inlineString"] == fetched
    after = {proxy: listeners(mesh, proxy) for proxy in (REVIEWS, RATINGS)}
    assert after[RATINGS] == before[RATINGS]
    assert [name for name in after[REVIEWS] if after[REVIEWS][name] != before[REVIEWS][name]] == ["virtualInbound"]


@pytest.mark.parametrize("jwks", ['{"keys":[]}', '{"keys":[{"kty":"RSA"}]}', "nonsense"])
def test_inline_keys_that_envoy_refuses_become_keys_that_verify_nothing(jwks: str) -> None:
    (provider,) = providers(Mesh(WORLD + authentication("reviews", jwks=jwks)), REVIEWS)
    assert provider["localJwks"]["inlineString"] == NOBODYS_KEYS


def fetched_by(fetcher: KeyFetcher, uri: str, **rule: Any) -> Mesh:
    mesh = Mesh(WORLD + authentication("reviews", jwksUri=uri, **rule))
    mesh.graph.apply([(JWKS_FETCHER, None, fetcher)])
    return mesh


@pytest.mark.parametrize("fetcher", [KeyFetcher.HYBRID, KeyFetcher.ENVOY])
def test_envoy_fetches_from_services_of_the_mesh_whatever_its_applications_may_call(fetcher: KeyFetcher) -> None:
    mesh = fetched_by(fetcher, INSIDE, timeout="2s")
    cluster = "outbound|80||keys.idp.svc.cluster.local"
    (provider,) = providers(mesh, REVIEWS)
    assert provider["remoteJwks"]["httpUri"] == {"uri": INSIDE, "cluster": cluster, "timeout": "2s"}
    assert "localJwks" not in provider
    found = resources(mesh, REVIEWS)
    assert cluster in found["clusters"]
    assert (CLUSTER, cluster) in found["listeners"]["virtualInbound"].refs
    assert key_uses(mesh.graph) == (), "the control plane has nothing to fetch"
    assert key_servers(mesh.graph, "shop") == (("idp", "keys"),)
    assert key_servers(mesh.graph, "other") == (), "nobody else needs to know"


@pytest.mark.parametrize(
    "uri",
    [
        "https://login.example.org/keys",
        "http://keys.idp.svc.cluster.local:81/keys",
        "http://keys.idp.svc.cluster.local:53/keys",
        "https://keys.idp.svc.cluster.local/keys",
        "http://10.96.0.3/keys",
        "http://keys:port/",
    ],
)
def test_what_is_no_port_of_a_service_the_control_plane_fetches_or_nobody(uri: str) -> None:
    for fetcher, fetches in ((KeyFetcher.CONTROL_PLANE, True), (KeyFetcher.HYBRID, True), (KeyFetcher.ENVOY, False)):
        mesh = fetched_by(fetcher, uri)
        (provider,) = providers(mesh, REVIEWS)
        assert provider["localJwks"]["inlineString"] == NOBODYS_KEYS
        assert [use.source.uri for use in key_uses(mesh.graph)] == ([uri] if fetches else [])


def test_the_control_plane_fetches_from_services_unless_it_is_told_otherwise() -> None:
    mesh = fetched_by(KeyFetcher.CONTROL_PLANE, INSIDE)
    (provider,) = providers(mesh, REVIEWS)
    assert "remoteJwks" not in provider
    assert [use.source.uri for use in key_uses(mesh.graph)] == [INSIDE]


def test_discovery_is_for_the_control_plane() -> None:
    mesh = Mesh(WORLD + authentication("reviews"))
    mesh.graph.apply([(JWKS_FETCHER, None, KeyFetcher.ENVOY)])
    assert [use.source for use in key_uses(mesh.graph)] == [KeySource("https://login.example.org", discovered=True)]


def test_a_fetch_may_take_as_long_as_the_most_patient_rule_says() -> None:
    mesh = Mesh(
        WORLD
        + authentication("reviews", jwksUri=OUTSIDE.uri, timeout="1s")
        + authentication("ratings", jwksUri=OUTSIDE.uri, timeout="9s")
        + authentication("web", jwksUri=INSIDE)
    )
    inside, outside = key_uses(mesh.graph)
    assert (inside.timeout.total_seconds(), outside.timeout.total_seconds()) == (5, 9)
    assert [key.name for key in outside.policies] == ["ratings", "reviews"]
