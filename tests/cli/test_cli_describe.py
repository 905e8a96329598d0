"""`describe` and `authz check` against a running control plane."""

import json
from pathlib import Path
from typing import Any

import pytest

from dragoman.cli.inspect.authz_policies import Policy, policies
from dragoman.cli.inspect.description_text import pod_lines, pooled, service_lines
from tests.cli.test_cli_proxies import asked, lines
from tests.debug.debug_proxy import proxy_at
from tests.debug.running_plane import MESH, WEB, running_plane
from tests.support.until import until

RULES = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web-b, namespace: shop}
spec:
  hosts: [web.shop.svc.cluster.local]
  http: [{route: [{destination: {host: web}}]}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers, namespace: shop}
spec: {rules: [{to: [{operation: {methods: [GET]}}]}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: ["*"], tls: {mode: SIMPLE, credentialName: c}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web-front, namespace: shop}
spec:
  hosts: [shop.example]
  gateways: [front]
  http:
    - match: [{uri: {prefix: /x}, headers: {end-user: {exact: me}}}]
      route:
        - {destination: {host: web}, weight: 90}
        - {destination: {host: web, subset: v9}, weight: 10}
"""


async def test_a_pod_with_its_policies_and_services(tmp_path: Path) -> None:
    async with running_plane(tmp_path, MESH + RULES) as running, proxy_at(running.xds_port, WEB):
        await until(running.all_in_sync)
        told = lines(await asked(running, "describe", "pod", "web"))
        document = json.loads((await asked(running, "describe", "pod", "web-1.shop", "-o", "json")).stdout)
    at = f"{tmp_path}/mesh.yaml"
    assert [line.replace(at, "mesh.yaml") for line in told] == [
        "Pod web-1.shop",
        "  workload web-1, service account web, node n1, ready, 10.1.0.1",
        f"  sidecar, connected to 127.0.0.1:{running.http_port}, spiffe://cluster.local/ns/shop/sa/web (web-1)",
        "  port 8080 HTTP: service web.shop port 8080, mutual TLS STRICT",
        "  mutual TLS: STRICT by PeerAuthentication shop/default (mesh.yaml:49)",
        "  authorization:",
        "    ALLOW AuthorizationPolicy shop/readers (mesh.yaml:54), 1 rule",
        "  warning: it has no label version, by which telemetry tells workloads apart",
        "",
        "Service web.shop, as clients in namespace shop see it",
        "  port 8080 HTTP to 8080: 1 endpoint (1 healthy; 1 speak mutual TLS)",
        "  mutual TLS: servers STRICT by PeerAuthentication shop/default (mesh.yaml:49); clients automatic: mutual TLS",
        "  VirtualService shop/web (mesh.yaml:34) for web",
        "    all requests -> web (timeout)",
        "  DestinationRule shop/web (mesh.yaml:27): connection pool",
        (
            "  exposed by Gateway shop/front (mesh.yaml:59) at pods istio=ingressgateway: port 443 HTTPS SIMPLE, "
            "shop.example"
        ),
        "    VirtualService shop/web-front (mesh.yaml:66)",
        "      path /x*, header end-user = me -> 90% web, 10% web subset v9",
        (
            "  warning: VirtualService shop/web-front leads to subset 'v9' of web, which no DestinationRule has: "
            "requests are answered 503"
        ),
        (
            "  warning: VirtualService shop/web-b names the host, too, and has no effect on it: VirtualService "
            "shop/web comes first"
        ),
    ]
    assert document["authorization"][0]["proxies"] == "1/1"


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        ("", ""),
        (
            (
                "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
                "metadata: {name: web, namespace: shop}\n"
                "spec: {host: web, trafficPolicy: {tls: {mode: DISABLE}}}\n"
                "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
                "metadata: {name: default, namespace: shop}\nspec: {mtls: {mode: STRICT}}\n"
            ),
            "warning: clients speak DISABLE (DestinationRule shop/web), but 1 of its endpoints accept mutual TLS only",
        ),
        (
            (
                "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
                "metadata: {name: web, namespace: shop}\n"
                "spec: {host: web, subsets: [{name: v1, labels: {version: v1}}]}\n"
            ),
            "warning: subset 'v1' has no endpoints",
        ),
        (
            (
                "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n"
                "metadata: {name: web, namespace: shop}\n"
                "spec: {hosts: [web], http: [{route: [{destination: {host: nowhere}}]}]}\n"
            ),
            "warning: VirtualService shop/web leads to nowhere, which is no service",
        ),
        (
            (
                "---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop, "
                'annotations: {networking.istio.io/exportTo: "."}}\n'
                "spec: {clusterIP: 10.96.0.1, selector: {app: none}, ports: [{port: 8080}]}\n"
            ),
            "warning: port 8080 has no endpoints",
        ),
    ],
)
async def test_what_is_wrong_with_a_service(tmp_path: Path, rules: str, complaint: str) -> None:
    # A later document of the same name replaces the earlier one.
    kinds = [line for line in rules.splitlines() if line.startswith("kind: ") and "PeerAuthentication" not in line]
    kept = [
        each for each in MESH.split("---") if not any(f"{kind}\n" in each and "name: web," in each for kind in kinds)
    ]
    async with running_plane(tmp_path, "---".join(kept) + rules) as running:
        told = "\n".join(lines(await asked(running, "describe", "svc", "web", "--from", "other")))
    assert "as clients in namespace other see it" in told
    assert complaint in told
    assert ("warning" in told) == bool(complaint)
    assert ("it is not exported to namespace other" in told) == ("exportTo" in rules)


async def test_names_that_nothing_has(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as running:
        unknown = await asked(running, "describe", "pod", "nobody")
        several = await asked(running, "describe", "pod", "")
        neither = await asked(running, "describe", "node", "n1")
        status, text, _ = await running.get("/debug/describe")
    assert unknown.exit_code == several.exit_code == 1
    assert "no pod 'nobody' is known" in unknown.stderr
    assert "'' may be any of cart-1.shop, web-1.shop: give more of the name" in several.stderr
    assert neither.exit_code == 2
    assert status == 404
    assert "say which" in text


async def test_a_pod_without_a_proxy(tmp_path: Path) -> None:
    async with running_plane(tmp_path, MESH + RULES) as running:
        told = lines(await asked(running, "describe", "pod", "cart-1"))
    assert "  no proxy is connected" in told
    assert "  warning: it has no proxy: no policy holds for it, and clients reach it in plaintext" in told
    assert "  warning: mutual TLS is STRICT, which without a proxy nobody enforces" in told
    assert "  warning: no service selects it: the mesh knows none of its ports" in told


ASKING = """
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask, namespace: shop}
spec: {action: CUSTOM, provider: {name: guard}, rules: [{}]}
"""
PROVIDERS = """
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    extensionProviders:
    - {name: guard, envoyExtAuthzHttp: {service: web.shop.svc.cluster.local, port: 8080}}
    - {name: other, envoyExtAuthzHttp: {service: web.shop.svc.cluster.local, port: 8080}}
"""


async def test_a_pod_whose_authorizers_cannot_be_asked(tmp_path: Path) -> None:
    async def warned(text: str) -> list[str]:
        async with running_plane(tmp_path, MESH + text) as running, proxy_at(running.xds_port, WEB):
            await until(running.all_in_sync)
            told = lines(await asked(running, "describe", "pod", "web-1"))
        return [line.strip() for line in told if "warning: " in line and "asked" in line]

    assert await warned(ASKING + PROVIDERS) == []
    assert await warned(ASKING) == [
        (
            "warning: AuthorizationPolicy shop/ask: the mesh has no extensionProvider 'guard': nobody can be asked, "
            "and what the rules match is denied"
        )
    ]
    second = ASKING.replace("name: ask", "name: too").replace("name: guard", "name: other")
    assert await warned(ASKING + second + PROVIDERS) == [
        (
            "warning: its policies name several external authorizers (guard, other): none is asked, and what their "
            "rules match is denied"
        )
    ]


async def test_policies_of_a_proxy(tmp_path: Path) -> None:
    async with running_plane(tmp_path, MESH + RULES) as running, proxy_at(running.xds_port, WEB):
        await until(running.all_in_sync)
        table = lines(await asked(running, "authz", "check", "web"))
        dump = tmp_path / "dump.json"
        dump.write_text(json.dumps(await running.ask("/debug/config_dump?proxyID=web-1.shop")))
        of_file = lines(await asked(running, "authz", "check", "-f", str(dump)))
        (running.folder / "mesh.yaml").write_text(MESH)
        await until(running.all_in_sync)
    assert [line.split() for line in table] == [
        ["ACTION", "AUTHORIZATIONPOLICY", "RULES"],
        ["ALLOW", "readers.shop", "1"],
    ]
    assert of_file == table


def _filter(*, kind: str = "http", **rules: Any) -> dict[str, Any]:
    return {"typedConfig": {"@type": f"type.googleapis.com/envoy.extensions.filters.{kind}.rbac.v3.RBAC", **rules}}


def test_policies_in_the_order_in_which_they_decide() -> None:
    listener = {
        "filterChains": [
            {
                "filters": [
                    _filter(rules={"policies": {"ns[a]-policy[allow]-rule[0]": {}, "ns[a]-policy[allow]-rule[1]": {}}}),
                    _filter(
                        rules={"action": "DENY", "policies": {"ns[a]-policy[deny]-rule[0]": {}}},
                        shadowRules={"action": "DENY", "policies": {"ns[b]-policy[tried]-rule[0]": {}}},
                    ),
                    _filter(rules={"action": "LOG", "policies": {"ns[a]-policy[note]-rule[3]": {}}}),
                    _filter(
                        shadowRules={
                            "action": "DENY",
                            "policies": {"istio-ext-authz-opa-ns[a]-policy[ask]-rule[0]": {}},
                        }
                    ),
                ]
            },
            # The same on another port, and one where no rule can match.
            {"filters": [_filter(kind="network", rules={"policies": {"ns[a]-policy[allow]-rule[0]": {}}})]},
            {"filters": [_filter(kind="network", rules={})]},
        ]
    }
    assert policies([listener]) == [
        Policy("CUSTOM", "a", "ask", False, 1),
        Policy("AUDIT", "a", "note", False, 1),
        Policy("DENY", "a", "deny", False, 1),
        Policy("DENY", "b", "tried", True, 1),
        Policy("ALLOW", "a", "allow", False, 2),
    ]
    assert [policy.row() for policy in policies([listener])][3] == ("DENY", "tried.b (dry run)", "1")


def test_an_allow_that_matches_nothing_is_shown() -> None:
    (found,) = policies([{"filterChains": [{"filters": [_filter(rules={})]}]}])
    assert found.row() == ("ALLOW", "(matches nothing)", "0")
    assert policies([{"filterChains": [{"filters": []}]}]) == []


def test_what_is_not_everywhere_yet_or_rejected_is_said_beside_the_object() -> None:
    rule = {
        "object": "DestinationRule a/b",
        "proxies": "1/3",
        "rejections": ["CDS x: bad"],
        "failures": ["worse"],
        "conflicts": ["host b: DestinationRule a/a is older and wins"],
    }
    service = {
        "service": "b.a",
        "seenFrom": "a",
        "destinationRules": [rule],
        "trafficPolicy": ["TLS"],
        "subsets": [{"name": "v1", "labels": {"version": "v1"}, "endpoints": 2}],
        "matchingSubsets": ["v1"],
        "problems": ["error: DRG0101 x"],
    }
    assert list(service_lines(service))[1:] == [
        (
            "  DestinationRule a/b [1 of 3 proxies have it] [rejected: CDS x: bad] [cannot be made: worse] "
            "[conflict: host b: DestinationRule a/a is older and wins]: TLS"
        ),
        "    subset v1 (version=v1): 2 endpoints (this pod)",
        "  error: DRG0101 x",
    ]


def test_proxies_of_all_replicas_are_counted_together() -> None:
    first = {
        "virtualService": {"object": "a", "proxies": "1/2", "routes": []},
        "from": [{"object": "b", "proxies": "1/1"}],
    }
    other = {"virtualService": {"object": "a", "proxies": "3/3"}, "other": [{"object": "a", "proxies": "3/3"}]}
    assert pooled(first, [first, other]) == {
        "virtualService": {"object": "a", "proxies": "4/5", "routes": []},
        "from": [{"object": "b", "proxies": "1/1"}],
    }


def test_a_gateways_pod() -> None:
    pod = {
        "pod": "gw-1.edge",
        "workload": "gw",
        "serviceAccount": "gw",
        "addresses": ["10.0.0.1"],
        "revision": "canary",
        "proxy": {"type": "router", "heldBack": ["0.0.0.0_80: bad"]},
        "istiod": "istiod-1",
        "mutualTLS": {"mode": "PERMISSIVE", "ports": {"8080": "STRICT"}},
        "requestAuthentications": [{"issuer": "https://i", "audiences": ["a"]}],
        "tokensFrom": [{"object": "RequestAuthentication edge/x"}],
        "gateways": [{"object": "Gateway edge/g", "servers": [{"port": 80, "protocol": "HTTP", "hosts": ["*"]}]}],
    }
    assert list(pod_lines(pod)) == [
        "Pod gw-1.edge",
        "  workload gw, service account gw, revision canary, not ready, 10.0.0.1",
        "  router, connected to istiod-1",
        "    held back: 0.0.0.0_80: bad",
        "  mutual TLS: PERMISSIVE, port 8080 STRICT",
        "  authorization: no policy, so everybody may do everything",
        "  tokens of https://i for a",
        "    from RequestAuthentication edge/x",
        "  Gateway edge/g",
        "    port 80 HTTP: *",
    ]
