"""A change of mTLS mode reaches Envoy as a change of filter chains, which it swaps in place."""

from __future__ import annotations

from typing import Any

from dragoman.codec import decode
from dragoman.mesh.proxies import InboundView
from tests.support.mesh_of_yaml import Mesh, istio, pod, service
from translators.inbound_listeners import virtual_inbound

PORTS = "[{name: http, port: 80}, {name: tcp, port: 90}, {name: undeclared, port: 91}]"


def listener(mode: str, *policies: str) -> Any:
    mesh = Mesh(
        service("web", ports=PORTS)
        + pod("web-1", "10.0.0.1")
        + istio("PeerAuthentication", "default", f"{{mtls: {{mode: {mode}}}}}")
        + "".join(policies)
    )
    view = next(v for v in mesh.views("sidecar~10.0.0.1~web-1.shop~x") if isinstance(v, InboundView))
    encoded = virtual_inbound(mesh.graph, view)
    return decode(encoded.type_url, encoded.payload)


def without_chains(message: Any) -> bytes:
    message.ClearField("filter_chains")
    data: bytes = message.SerializeToString(deterministic=True)
    return data


def test_permissive_and_strict_differ_in_filter_chains_only() -> None:
    permissive, strict = listener("PERMISSIVE"), listener("STRICT")
    assert permissive != strict
    assert without_chains(permissive) == without_chains(strict)


def test_a_policy_changes_filter_chains_only() -> None:
    denied = istio("AuthorizationPolicy", "a", "{action: DENY, rules: [{from: [{source: {namespaces: [far]}}]}]}")
    before, after = listener("STRICT"), listener("STRICT", denied)
    assert before != after
    assert without_chains(before) == without_chains(after)
