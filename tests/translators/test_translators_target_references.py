"""Policies that name a Gateway, with requests through a real gateway Envoy: those of its pods, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.translators.gateway_mesh import Answer, GatewayMesh, gateway_mesh
from tests.translators.test_translators_gateway_traffic import gateway, server, virtual_service

pytestmark = pytest.mark.envoy

HOST = "a.example.com"


def target(name: str, kind: str = "Gateway", group: str = "gateway.networking.k8s.io") -> dict[str, str]:
    return {"group": group, "kind": kind, "name": name}


def policy(kind: str, name: str, namespace: str, *targets: dict[str, str], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"targetRefs": list(targets), **spec},
    }


def denying(name: str, namespace: str, *targets: dict[str, str]) -> dict[str, Any]:
    """A policy that denies the path of its name."""
    rules = [{"to": [{"operation": {"paths": [f"/{name}"]}}]}]
    return policy("AuthorizationPolicy", name, namespace, *targets, action="DENY", rules=rules)


FRONT, BACK = target("front"), target("back")

IN_VAIN = [
    denying("other-gateway", "edge", BACK),
    denying("other-namespace", "istio-system", FRONT),
    denying("at-the-server", "shop", FRONT),
    denying("waypoint", "shop", target("server", "Service", "")),
    denying("class", "istio-system", target("istio-waypoint", "GatewayClass")),
]


async def get(mesh: GatewayMesh, name: str, **headers: str) -> Answer:
    return await mesh.get(f"http:///{name}", HOST, headers=headers)


async def test_policies_hold_at_the_gateway_that_they_name(tmp_path: Path) -> None:
    edge = [
        gateway("gw", server("http", 80, "HTTP", "*.example.com")),
        virtual_service("server", "gw", "*.example.com"),
        denying("denied", "edge", BACK, FRONT),
        *IN_VAIN,
    ]
    async with gateway_mesh(tmp_path, {"edge": yaml.safe_dump_all(edge)}) as mesh:
        await mesh.eventually(lambda: get(mesh, "denied"), 403)
        await mesh.in_force()
        for each in IN_VAIN:
            assert (await get(mesh, each["metadata"]["name"])).status == 200, each

        mesh.write("moved", [denying("moved", "edge", BACK)])
        await mesh.in_force()
        assert (await get(mesh, "moved")).status == 200
        mesh.write("moved", [denying("moved", "edge", FRONT)])
        await mesh.eventually(lambda: get(mesh, "moved"), 403)
        assert (await get(mesh, "other-gateway")).status == 200


async def test_tokens_are_looked_at_by_the_gateway_that_is_named(tmp_path: Path) -> None:
    rules = [{"issuer": "https://login.example.org", "presence": "REQUIRED", "jwks": '{"keys":[]}'}]
    edge = [
        gateway("gw", server("http", 80, "HTTP", "*.example.com")),
        virtual_service("server", "gw", "*.example.com"),
        policy("RequestAuthentication", "tokens", "edge", BACK, jwtRules=rules),
    ]
    async with gateway_mesh(tmp_path, {"edge": yaml.safe_dump_all(edge)}) as mesh:
        await mesh.eventually(lambda: get(mesh, ""), 200)
        mesh.write("tokens", [policy("RequestAuthentication", "front", "edge", FRONT, jwtRules=rules)])
        await mesh.eventually(lambda: get(mesh, ""), 401)
        assert (await get(mesh, "", authorization="Bearer a.b.c")).status == 401
