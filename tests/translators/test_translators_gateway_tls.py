"""How TLS ends at a gateway, by mode; where it does not end, where its bytes go."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.codec import CLUSTER, LISTENER, ROUTE, SECRET, Encoded, to_json
from dragoman.engine import Failure, Graph
from dragoman.mesh.credential_uses import server_credentials
from dragoman.mesh.gateway_merge import BoundServer
from dragoman.mesh.proxies import GatewayView
from tests.support.mesh_of_yaml import Mesh
from translators.gateway_tls import Socket, downstream_socket_of
from translators.gateways import gateway
from translators.peer_names import PeerNames

PROXY = "router~10.0.0.9~gw.edge~edge.svc.cluster.local"
WORKLOAD = """
apiVersion: v1
kind: Pod
metadata: {name: gw, namespace: edge, labels: {istio: ingressgateway}}
spec: {serviceAccountName: gw, containers: [{name: proxy}]}
status: {podIP: 10.0.0.9, phase: Running}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: 10.96.0.1, selector: {app: db}, ports: [{name: tcp-a, port: 5000}, {name: tcp-b, port: 6000}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
"""


def mesh_of(*servers: str, more: str = "") -> Mesh:
    return Mesh(WORKLOAD + "".join(f"  - {server}\n" for server in servers) + more)


def server(tls: str, *, protocol: str = "HTTPS", hosts: str = "a.org", name: str = "tls") -> str:
    return f"{{port: {{number: 8443, name: {name}, protocol: {protocol}}}, hosts: [{hosts}], tls: {{{tls}}}}}"


def routes(kind: str, *, match: str = "", hosts: str = "a.org", namespace: str = "shop", to: str = "db") -> str:
    return (
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n"
        f"metadata: {{name: {kind}, namespace: {namespace}}}\n"
        f"spec:\n  hosts: [{hosts}]\n  gateways: [edge/gw]\n  {kind}:\n"
        f"  - match: [{{{match}}}]\n    route: [{{destination: {{host: {to}, port: {{number: 5000}}}}}}]\n"
    )


def listeners(mesh: Mesh) -> list[Encoded]:
    view = next(view for view in mesh.views(PROXY) if isinstance(view, GatewayView))
    mount = mesh.graph.mount(gateway.call(view))
    found = [value for value in mount.leaves().values() if isinstance(value, Encoded) and value.type_url == LISTENER]
    mount.close()
    return found


def failures(mesh: Mesh) -> list[Failure]:
    view = next(view for view in mesh.views(PROXY) if isinstance(view, GatewayView))
    mount = mesh.graph.mount(gateway.call(view))
    found = [value for value in mount.leaves().values() if isinstance(value, Failure)]
    mount.close()
    return found


def only_listener(mesh: Mesh) -> tuple[dict[str, Any], Encoded]:
    (encoded,) = listeners(mesh)
    return to_json(LISTENER, encoded.payload), encoded


def context(mesh: Mesh) -> tuple[dict[str, Any], Encoded]:
    """The TLS context of the only chain of the only listener."""
    listener, encoded = only_listener(mesh)
    (chain,) = listener["filterChains"]
    return chain["transportSocket"]["typedConfig"], encoded


def sds_names(found: dict[str, Any]) -> list[str]:
    return [secret["name"] for secret in found["commonTlsContext"]["tlsCertificateSdsSecretConfigs"]]


def credentials(mesh: Mesh) -> tuple[str, ...]:
    view = next(view for view in mesh.views(PROXY) if isinstance(view, GatewayView))
    return tuple(dict.fromkeys(use.name for use in server_credentials(mesh.graph, view)))


def test_simple_asks_no_client_certificate() -> None:
    mesh = mesh_of(server("mode: SIMPLE, credentialName: cert"))
    found, encoded = context(mesh)
    assert sds_names(found) == ["kubernetes://cert"]
    assert "requireClientCertificate" not in found
    assert "combinedValidationContext" not in found["commonTlsContext"]
    assert found["commonTlsContext"]["alpnProtocols"] == ["h2", "http/1.1"]
    assert (SECRET, "kubernetes://cert") in encoded.refs
    assert (ROUTE, "https.8443.tls.gw.edge") in encoded.refs
    assert credentials(mesh) == ("kubernetes://cert",)


@pytest.mark.parametrize(("mode", "required"), [("MUTUAL", True), ("OPTIONAL_MUTUAL", None)])
def test_mutual_verifies_clients_by_the_authority_that_goes_with_the_certificate(
    mode: str, required: bool | None
) -> None:
    mesh = mesh_of(server(f"mode: {mode}, credentialName: cert, subjectAltNames: [client.org]"))
    found, encoded = context(mesh)
    assert found.get("requireClientCertificate") is required
    combined = found["commonTlsContext"]["combinedValidationContext"]
    assert combined["validationContextSdsSecretConfig"]["name"] == "kubernetes://cert-cacert"
    names = combined["defaultValidationContext"]["matchTypedSubjectAltNames"]
    assert {name["sanType"] for name in names} == {"DNS", "URI"}
    assert {name["matcher"]["exact"] for name in names} == {"client.org"}
    assert {(SECRET, "kubernetes://cert"), (SECRET, "kubernetes://cert-cacert")} <= encoded.refs
    assert credentials(mesh) == ("kubernetes://cert", "kubernetes://cert-cacert")


def test_an_authority_of_its_own_and_two_certificates() -> None:
    mesh = mesh_of(server("mode: MUTUAL, credentialNames: [rsa, ecdsa], caCertCredentialName: clients"))
    found, _ = context(mesh)
    assert sds_names(found) == ["kubernetes://rsa", "kubernetes://ecdsa"]
    combined = found["commonTlsContext"]["combinedValidationContext"]
    assert combined["validationContextSdsSecretConfig"]["name"] == "kubernetes://clients-cacert"
    assert credentials(mesh) == ("kubernetes://rsa", "kubernetes://ecdsa", "kubernetes://clients-cacert")


def test_istio_mutual_uses_the_certificates_of_the_mesh() -> None:
    mesh = mesh_of(server("mode: ISTIO_MUTUAL"))
    found, encoded = context(mesh)
    assert sds_names(found) == ["default"]
    assert found["requireClientCertificate"] is True
    assert {(SECRET, "default"), (SECRET, "ROOTCA")} <= encoded.refs
    assert credentials(mesh) == ()


def test_files_are_read_by_the_proxy() -> None:
    mesh = mesh_of(
        server("mode: MUTUAL, serverCertificate: /c.pem, privateKey: /k.pem, caCertificates: /ca.pem, caCrl: /crl.pem")
    )
    common = context(mesh)[0]["commonTlsContext"]
    assert common["tlsCertificates"] == [
        {"certificateChain": {"filename": "/c.pem"}, "privateKey": {"filename": "/k.pem"}}
    ]
    assert common["validationContext"] == {"trustedCa": {"filename": "/ca.pem"}, "crl": {"filename": "/crl.pem"}}
    assert credentials(mesh) == ()


POLICY = """---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny, namespace: edge}
spec: {action: DENY, rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/evil]}}]}]}
"""


@pytest.mark.parametrize("tls", ["mode: PASSTHROUGH", "mode: ISTIO_MUTUAL", "mode: SIMPLE, credentialName: c"])
def test_policies_decide_about_bytes_before_they_go_on(tls: str) -> None:
    more = routes("tls", match="sniHosts: [a.org]") + routes("tcp") + POLICY
    listener, _ = only_listener(mesh_of(server(tls, protocol="TLS"), more=more))
    (chain,) = listener["filterChains"]
    names = [found["name"] for found in chain["filters"]]
    assert names.index("envoy.filters.network.rbac") < names.index("envoy.filters.network.tcp_proxy")
    proxy = chain["filters"][-1]["typedConfig"]
    assert ("upstreamConnectMode" in proxy) == (tls != "mode: PASSTHROUGH")
    if tls == "mode: ISTIO_MUTUAL":
        common = chain["transportSocket"]["typedConfig"]["commonTlsContext"]
        names = common["combinedValidationContext"]["defaultValidationContext"]["matchTypedSubjectAltNames"]
        assert all("safeRegex" in name["matcher"] for name in names)


def test_policies_decide_about_requests() -> None:
    listener, _ = only_listener(mesh_of(server("mode: SIMPLE, credentialName: c"), more=POLICY))
    manager = listener["filterChains"][0]["filters"][-1]["typedConfig"]
    assert manager["httpFilters"][0]["name"] == "envoy.filters.http.rbac"


def test_versions_and_ciphers_are_the_servers_else_the_meshs() -> None:
    defaults = """---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "tlsDefaults: {minProtocolVersion: TLSV1_3, cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256]}"}
"""
    written = "minProtocolVersion: TLSV1_2, maxProtocolVersion: TLSV1_2, cipherSuites: [ECDHE-ECDSA-AES128-GCM-SHA256]"
    own, _ = context(mesh_of(server(f"mode: SIMPLE, credentialName: c, {written}"), more=defaults))
    assert own["commonTlsContext"]["tlsParams"] == {
        "tlsMinimumProtocolVersion": "TLSv1_2",
        "tlsMaximumProtocolVersion": "TLSv1_2",
        "cipherSuites": ["ECDHE-ECDSA-AES128-GCM-SHA256"],
    }
    meshs, _ = context(mesh_of(server("mode: SIMPLE, credentialName: c"), more=defaults))
    assert meshs["commonTlsContext"]["tlsParams"] == {
        "tlsMinimumProtocolVersion": "TLSv1_3",
        "cipherSuites": ["ECDHE-RSA-AES128-GCM-SHA256"],
    }
    neither, _ = context(mesh_of(server("mode: SIMPLE, credentialName: c")))
    assert "tlsParams" not in neither["commonTlsContext"]


def test_names_that_envoy_would_reject_the_port_for_are_left_out() -> None:
    written = "cipherSuites: [BOGUS, AES128-SHA], ecdhCurves: [P-256, P-1]"
    found, _ = context(mesh_of(server(f"mode: SIMPLE, credentialName: c, {written}")))
    assert found["commonTlsContext"]["tlsParams"] == {"cipherSuites": ["AES128-SHA"], "ecdhCurves": ["P-256"]}
    only, _ = context(mesh_of(server("mode: SIMPLE, credentialName: c, cipherSuites: [BOGUS]")))
    assert "tlsParams" not in only["commonTlsContext"]


def test_a_server_that_cannot_be_translated_leaves_the_others_of_its_port_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fragile(g: Graph, bound: BoundServer, peers: PeerNames) -> Socket | None:
        if bound.server_names == ("bad.org",):
            raise ValueError("cannot be made")
        return downstream_socket_of(g, bound, peers)

    monkeypatch.setattr("translators.gateway_listeners.downstream_socket_of", fragile)
    mesh = mesh_of(
        server("mode: SIMPLE, credentialName: c", hosts="bad.org", name="bad"),
        server("mode: SIMPLE, credentialName: c", hosts="good.org", name="good"),
    )
    listener, _ = only_listener(mesh)
    assert [chain["filterChainMatch"]["serverNames"] for chain in listener["filterChains"]] == [["good.org"]]
    assert [str(failure.error) for failure in failures(mesh)] == ["cannot be made"]


@pytest.mark.parametrize("hosts", ["'*'", "a.org, '*'"])
def test_a_server_for_every_host_matches_without_a_name(hosts: str) -> None:
    listener, _ = only_listener(mesh_of(server("mode: SIMPLE, credentialName: c", hosts=hosts)))
    assert [chain["filterChainMatch"] for chain in listener["filterChains"]] == [{}]


def test_passed_through_by_the_names_of_tls_routes_that_the_server_admits() -> None:
    mesh = mesh_of(
        server("mode: PASSTHROUGH", protocol="TLS", hosts="'*.a.org', only/b.org"),
        more=routes("tls", match="sniHosts: [x.a.org, b.org], port: 8443", hosts="x.a.org, b.org"),
    )
    listener, encoded = only_listener(mesh)
    (chain,) = listener["filterChains"]
    assert chain["filterChainMatch"] == {"serverNames": ["x.a.org"]}
    assert "transportSocket" not in chain
    assert chain["filters"][-1]["typedConfig"]["cluster"] == "outbound|5000||db.shop.svc.cluster.local"
    assert (CLUSTER, "outbound|5000||db.shop.svc.cluster.local") in encoded.refs


@pytest.mark.parametrize("match", ["sniHosts: [a.org], port: 1", "sniHosts: [a.org], gateways: [edge/other]"])
def test_a_tls_route_for_another_port_or_gateway_leads_nowhere(match: str) -> None:
    assert listeners(mesh_of(server("mode: PASSTHROUGH", protocol="TLS"), more=routes("tls", match=match))) == []


def test_no_name_stands_in_two_chains_of_a_listener() -> None:
    """Envoy refuses a listener with two equal matches, and with it every other name on the port."""
    mesh = mesh_of(
        server("mode: SIMPLE, credentialName: c", hosts="a.org", name="own"),
        server("mode: PASSTHROUGH", protocol="TLS", hosts="'*.org'", name="passed"),
        more=routes("tls", match="sniHosts: [a.org, z.org]", hosts="a.org, z.org"),
    )
    listener, _ = only_listener(mesh)
    names = [chain["filterChainMatch"]["serverNames"] for chain in listener["filterChains"]]
    assert names == [["a.org"], ["z.org"]]
    assert [str(failure.error) for failure in failures(mesh)] == [
        "Gateway edge/gw server 'passed' (port 8443) does not get a.org: an older server or route on the port has it"
    ]


@pytest.mark.parametrize(("protocol", "tls"), [("TCP", ""), ("TLS", ", tls: {mode: SIMPLE, credentialName: c}")])
def test_bytes_go_where_the_first_tcp_route_of_the_port_says(protocol: str, tls: str) -> None:
    written = f"{{port: {{number: 8443, name: bytes, protocol: {protocol}}}, hosts: ['*']{tls}}}"
    mesh = mesh_of(written, more=routes("tcp", match="port: 8443", hosts="'*'"))
    listener, encoded = only_listener(mesh)
    (chain,) = listener["filterChains"]
    assert chain["filters"][-1]["typedConfig"]["cluster"] == "outbound|5000||db.shop.svc.cluster.local"
    assert ("transportSocket" in chain) == (protocol == "TLS")
    assert (CLUSTER, "outbound|5000||db.shop.svc.cluster.local") in encoded.refs
    if protocol == "TLS":
        assert "alpnProtocols" not in chain["transportSocket"]["typedConfig"]["commonTlsContext"]
    mesh.remove("VirtualService", "shop", "tcp")
    assert listeners(mesh) == []


def test_weights_of_a_tcp_route() -> None:
    split = """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: tcp, namespace: shop}
spec:
  hosts: ["*"]
  gateways: [edge/gw]
  tcp:
  - route:
    - {destination: {host: db, port: {number: 5000}}, weight: 80}
    - {destination: {host: db, port: {number: 6000}}, weight: 20}
"""
    mesh = mesh_of("{port: {number: 8443, name: bytes, protocol: TCP}, hosts: ['*']}", more=split)
    listener, _ = only_listener(mesh)
    proxy = listener["filterChains"][0]["filters"][-1]["typedConfig"]
    assert [cluster["weight"] for cluster in proxy["weightedClusters"]["clusters"]] == [80, 20]


def test_what_stands_before_a_gateway_decides_what_is_believed() -> None:
    topology = """---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    defaultConfig:
      gatewayTopology: {numTrustedProxies: 2, forwardClientCertDetails: APPEND_FORWARD, proxyProtocol: {}}
"""
    written = "{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*']}"
    listener, _ = only_listener(mesh_of(written, more=topology))
    manager = listener["filterChains"][0]["filters"][-1]["typedConfig"]
    assert manager["xffNumTrustedHops"] == 2
    assert manager["forwardClientCertDetails"] == "APPEND_FORWARD"
    assert [f["name"] for f in listener["listenerFilters"]] == [
        "envoy.filters.listener.set_filter_state",
        "envoy.filters.listener.proxy_protocol",
    ]
    plain, _ = only_listener(mesh_of(written))
    manager = plain["filterChains"][0]["filters"][-1]["typedConfig"]
    assert manager["useRemoteAddress"] is True
    assert "xffNumTrustedHops" not in manager
    assert manager["forwardClientCertDetails"] == "SANITIZE_SET"
    assert [f["name"] for f in plain["listenerFilters"]] == ["envoy.filters.listener.set_filter_state"]
