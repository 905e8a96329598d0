"""The tables of honoured fields are true: a field that they list changes what some proxy gets, any other changes nothing.

Each leaf of a kind is set in a mesh where it would matter (`_CONTEXTS`), and everything that a client, a server and a
gateway get is compared with what they got before.
"""

# ruff: noqa: E501 - tables

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from crds.decode import decode
from crds.fields import LeafField, leaf_paths
from crds.support import SUPPORTED
from dragoman.engine import QueryFailed
from dragoman.mesh.inputs import JWKS_FETCHER, KeyFetcher
from tests.support.mesh_of_yaml import Mesh, pod, service
from tests.translators.golden import resources

PROXIES = (
    "sidecar~10.0.0.1~client-1.shop~shop.svc.cluster.local",
    "sidecar~10.0.0.2~reviews-1.shop~shop.svc.cluster.local",
    "sidecar~10.0.1.1~client-1.other~other.svc.cluster.local",
    "router~10.0.0.9~gw-1.shop~shop.svc.cluster.local",
)

_WORLD = (
    pod("client-1", "10.0.0.1", labels="version: v1", account="client")
    + pod(
        "reviews-1", "10.0.0.2", labels="version: v1, gateway.networking.k8s.io/gateway-name: front", account="reviews"
    )
    + pod("reviews-2", "10.0.0.3", labels="version: v2", account="reviews")
    + pod("client-1", "10.0.1.1", "other")
    + pod("gw-1", "10.0.0.9")
    + service(
        "reviews", ports="[{name: http, port: 80, targetPort: 8080}, {name: grpc, port: 81}, {name: tcp, port: 90}]"
    )
    + service("ratings", clusterIP="10.96.0.2", ports="[{name: http, port: 80}]")
)
_GATEWAY = """
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: shop}
spec:
  selector: {app: gw}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
  - {port: {number: 90, name: tcp, protocol: TCP}, hosts: ["*"]}
  - {port: {number: 443, name: tls, protocol: TLS}, hosts: ["*"], tls: {mode: PASSTHROUGH}}
"""
_BOUND = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bound, namespace: shop}
spec: {hosts: [www.example.com], gateways: [tried], http: [{route: [{destination: {host: reviews}}]}]}
"""

_TO_SUBSET = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: to-subset, namespace: shop}
spec: {hosts: [ratings], http: [{route: [{destination: {host: reviews, subset: v1, port: {number: 80}}}]}]}
"""

_GUARD = """
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: 'extensionProviders: [{name: x, envoyExtAuthzGrpc: {service: reviews.shop.svc.cluster.local, port: 80}}]'
"""

_AROUND = {"DestinationRule": _TO_SUBSET, "VirtualService": _GATEWAY, "Gateway": _BOUND, "AuthorizationPolicy": _GUARD}

_JWKS = (
    '{"keys":[{"crv":"P-256","kty":"EC","x":"cfHovyneeHXPl8Rdnt_bcD5k3oG8iYgJ5dNmJ9gWvko",'
    '"y":"ueTkydZbDzHFTr5ym_iy6PRk7tAQ6K75OdD2Ow6G7M4"}]}'
)
_TARGET = {"kind": "Gateway", "group": "gateway.networking.k8s.io", "name": "front"}
_FETCHED = {"jwks": None, "jwksUri": "http://reviews.shop.svc.cluster.local/keys"}

_BASES: dict[str, dict[str, Any]] = {
    "VirtualService": {"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews"}}]}]},
    "DestinationRule": {"host": "reviews", "subsets": [{"name": "v1", "labels": {"version": "v1"}}]},
    "Gateway": {
        "selector": {"app": "gw"},
        "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
    },
    "Sidecar": {},
    "PeerAuthentication": {"selector": {"matchLabels": {"app": "reviews"}}},
    "AuthorizationPolicy": {"rules": [{}]},
    "RequestAuthentication": {"jwtRules": [{"issuer": "https://a.example.org", "jwks": _JWKS}]},
}

_TLS_SERVER = {"port.number": 443, "port.protocol": "HTTPS"}

_CONTEXTS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    # The first pattern that matches a leaf gives the fields, from the pattern's group on, that must be there too; None
    # takes one away.
    "VirtualService": [
        (r"(http\[\]\.)redirect\.(uri|prefixRewrite)", {"route": None, "redirect.authority": "a.example.com"}),
        (r"(http\[\]\.)redirect\.", {"route": None, "redirect.uri": "/a"}),
        (r"(http\[\]\.)directResponse\.", {"route": None, "directResponse.status": 201}),
        (r"(http\[\]\.)retries\.attempts", {}),
        (r"(http\[\]\.)retries\.", {"retries.attempts": 3}),
        (r"(http\[\]\.fault\.)delay\.fixedDelay", {}),
        (r"(http\[\]\.fault\.)delay\.", {"delay.fixedDelay": "1s"}),
        (r"(http\[\]\.fault\.)abort\.(http|grpc)Status", {}),
        (r"(http\[\]\.fault\.)abort\.", {"abort.httpStatus": 500}),
        (r"(http\[\]\.)mirror(Per|_per|\.(subset|port))", {"mirror.host": "ratings"}),
        (r"(http\[\]\.mirrors\[\]\.)", {"destination.host": "reviews"}),
        (r"(http\[\]\.)corsPolicy\.allowOrigin", {}),
        (r"(http\[\]\.corsPolicy\.)", {"allowOrigins[].exact": "https://a.example.com"}),
        (r"(http\[\]\.rewrite\.uriRegexRewrite\.)", {"match": "/a", "rewrite": "/b"}),
        (r"(http\[\]\.match\[\]\.)(ignoreUriCase|name)", {"uri.prefix": "/a", "..name": "named"}),
        (
            r"(http\[\]\.)route\[\]\.weight",
            {"route": [{"destination": {"host": h}, "weight": 1} for h in ("reviews", "ratings")]},
        ),
        (r"(http\[\]\.)match\[\]\.gateways", {}),
        (r"(http\[\]\.)delegate", {}),
        (
            r"(tcp\[\]\.)route\[\]\.weight",
            {".gateways": ["gw"], "route": [{"destination": {"host": h}, "weight": 1} for h in ("reviews", "ratings")]},
        ),
        (r"(tcp\[\]\.)", {".gateways": ["gw"], "route[].destination.host": "reviews"}),
        (
            r"(tls\[\]\.)route\[\]\.weight",
            {
                ".gateways": ["gw"],
                "match[].sniHosts": ["reviews"],
                "route": [{"destination": {"host": h}, "weight": 1} for h in ("reviews", "ratings")],
            },
        ),
        (
            r"(tls\[\]\.)",
            {".gateways": ["gw"], "match[].sniHosts": ["reviews"], "route[].destination.host": "reviews"},
        ),
    ],
    "DestinationRule": [
        (r"(.*portLevelSettings\[\]\.)port\.number", {"connectionPool.tcp.maxConnections": 5}),
        (
            r"(.*)connectionPool\.http\.(maxConcurrent|http2KeepAlive\.timeout)",
            {"connectionPool.http.http2KeepAlive.interval": "9s"},
        ),
        (r"(.*outlierDetection\.)consecutiveLocal", {"splitExternalLocalOriginErrors": True}),
        (r"(.*outlierDetection\.)", {"maxEjectionPercent": 11}),
        (r"(.*loadBalancer\.)warmup\.(minimum|aggr)", {"warmup.duration": "30s"}),
        (
            r"(.*consistentHash\.)httpCookie\.(path|ttl|attributes)",
            {"httpCookie.name": "c", "httpCookie.ttl": "1s", "httpCookie.attributes[].name": "a"},
        ),
        (r"(.*consistentHash\.)(ringHash|maglev|minimumRingSize)", {"httpHeaderName": "x-user"}),
        (r"(.*tls\.)(clientC|privateK)", {"mode": "MUTUAL", "clientCertificate": "/a", "privateKey": "/b"}),
        (r"(.*tls\.)mode", {}),
        (r"(.*tls\.)", {"mode": "SIMPLE"}),
        (r"(.*tunnel\.)", {"protocol": "CONNECT", "targetHost": "a", "targetPort": 443}),
        (r"(.*retryBudget\.)", {"percent": 10.0}),
        (r"(subsets\[\]\.)labels", {}),
    ],
    "Gateway": [
        (
            r"(servers\[\]\.)(port\.name|port\.targetPort)",
            {**_TLS_SERVER, "tls.mode": "SIMPLE", "tls.credentialName": "cred"},
        ),
        (r"(servers\[\]\.)port\.protocol", {"tls.mode": "SIMPLE", "tls.credentialName": "cred"}),
        (r"(servers\[\]\.)tls\.httpsRedirect", {}),
        (
            r"(servers\[\]\.)tls\.(serverCert|privateKey)",
            {**_TLS_SERVER, "tls.mode": "SIMPLE", "tls.serverCertificate": "/c", "tls.privateKey": "/k"},
        ),
        (
            r"(servers\[\]\.)tls\.caCertificates",
            {**_TLS_SERVER, "tls.mode": "MUTUAL", "tls.serverCertificate": "/c", "tls.privateKey": "/k"},
        ),
        (
            r"(servers\[\]\.)tls\.tlsCertificates",
            {
                **_TLS_SERVER,
                "tls.mode": "SIMPLE",
                "tls.tlsCertificates[].serverCertificate": "/c",
                "tls.tlsCertificates[].privateKey": "/k",
            },
        ),
        (r"(servers\[\]\.)tls\.mode", {**_TLS_SERVER, "tls.mode": "SIMPLE", "tls.credentialName": "cred"}),
        (r"(servers\[\]\.)tls\.credentialName(s?)$", {**_TLS_SERVER, "tls.mode": "SIMPLE"}),
        (r"(servers\[\]\.)tls\.", {**_TLS_SERVER, "tls.mode": "MUTUAL", "tls.credentialName": "cred"}),
    ],
    "Sidecar": [
        (
            r"(ingress\[\]\.)bind",
            {"port.number": 8080, "port.protocol": "HTTP", "port.name": "http", "captureMode": "NONE"},
        ),
        (
            r"(ingress\[\]\.)",
            {"port.number": 8080, "port.protocol": "HTTP", "port.name": "http", "defaultEndpoint": "127.0.0.1:9000"},
        ),
        (
            r"(egress\[\]\.)(port|bind|captureMode)",
            {"hosts": ["*/*"], "port.number": 80, "port.protocol": "HTTP", "port.name": "http"},
        ),
        (r"(workloadSelector)", {".egress[].hosts": ["shop/reviews.shop.svc.cluster.local"]}),
        (r"(outboundTrafficPolicy\.)egressProxy", {"mode": "ALLOW_ANY", "egressProxy.host": "reviews"}),
    ],
    "PeerAuthentication": [(r"(selector)", {".mtls.mode": "STRICT"})],
    "RequestAuthentication": [
        (r"(jwtRules\[\]\.)(jwksUri|jwks_uri)", {"jwks": None}),
        (r"(jwtRules\[\]\.)timeout", _FETCHED),
        (r"(jwtRules\[\]\.)fromHeaders\[\]\.prefix", {"fromHeaders[].name": "x-a"}),
        (r"(jwtRules\[\]\.)outputClaimToHeaders", {"outputClaimToHeaders": [{"header": "x-a", "claim": "a"}]}),
        (r"(targetRefs?(\[\])?\.)", _TARGET),
    ],
    "AuthorizationPolicy": [
        (r"(rules\[\]\.when\[\]\.)", {"key": "request.headers[x-a]", "values": ["a"]}),
        (r"(rules\[\]\.)", {}),
        (r"(targetRefs?(\[\])?\.)", _TARGET),
        (r"(provider)", {".action": "CUSTOM"}),
    ],
}

_VALUES: dict[str, Any] = {
    # By the end of the leaf, the longest that matches; `Kind:` before it where kinds differ.
    "hosts": ["ratings"], "exportTo": ["third"], "outlierDetectionHttpErrorCodes": [500], "gateways": ["other"], "host": "ratings",
    "Gateway:hosts": ["other.example.com"], "Sidecar:hosts": ["shop/reviews.shop.svc.cluster.local"],
    "AuthorizationPolicy:hosts": ["a.example.com"],
    "port.number": 81, "DestinationRule:port.number": 80, "Gateway:port.number": 8080, "Sidecar:port.number": 8081,
    "Gateway:servers[].port.protocol": "HTTPS", "Sidecar:ingress[].port.protocol": "TCP", "Sidecar:egress[].port.protocol": "TCP",
    "bind": "127.0.0.9", "defaultEndpoint": "127.0.0.1:9100", "captureMode": "NONE",
    "status": 418, "redirectCode": 308, "grpcStatus": "UNAVAILABLE", "httpStatus": 418, "percent": 50, "percentage.value": 50.0,
    "retryBudget.percent": 50.0, "regex": "a+", "retryIgnorePreviousHosts": False, "distribute[].to": {"x": 100}, "derivePort": "FROM_REQUEST_PORT", "retryOn": "5xx", "scheme": "https",
    "unmatchedPreflights": "IGNORE", "bytes": "YQ==", "uriRegexRewrite.match": "/x", "http2UpgradePolicy": "UPGRADE",
    "h2UpgradePolicy": "UPGRADE", "simple": "RANDOM", "tls.mode": "ISTIO_MUTUAL", "Gateway:tls.mode": "MUTUAL",
    "minProtocolVersion": "TLSV1_3", "maxProtocolVersion": "TLSV1_2", "cipherSuites": ["ECDHE-RSA-AES128-GCM-SHA256"],
    "ecdhCurves": ["P-256"], "matchLabels": {"app": "client"}, "workloadSelector.labels": {"app": "client"}, "selector": {"app": "else"},
    "labels": {"version": "v2"}, "protocol": "POST", "mode": "REGISTRY_ONLY", "mtls.mode": "STRICT", "portLevelMtls{}.mode": "STRICT",
    "action": "DENY", "ipBlocks": ["10.0.0.0/8"], "notIpBlocks": ["10.0.0.0/8"], "remoteIpBlocks": ["10.0.0.0/8"], "notRemoteIpBlocks": ["10.0.0.0/8"],
    "ports": ["8080"], "notPorts": ["8080"], "methods": ["GET"], "paths": ["/a"], "key": "request.headers[x-b]",
    "sourceLabels": {"app": "nobody"}, "verifyCertificateHash": ["ab" * 32], "verifyCertificateSpki": ["a" * 43 + "="],
    "minHealthPercent": 30, "tableSize": 11, "version": "V2", "exponentialDelay": "1s",
    "jwks": '{"keys":[]}', "jwksUri": "http://reviews.shop.svc.cluster.local/keys", "jwks_uri": "http://reviews.shop.svc.cluster.local/keys",
    "presence": "REQUIRED", "maxEjectionPercent": 30, "trustDomains": ["example.org"], "percentage": 50,
}  # fmt: skip

_KEYS = {"portLevelMtls{}": 8080, "headers{}": "x-a", "withoutHeaders{}": "x-a", "queryParams{}": "a"}


_OTHERWISE = {
    r"VirtualService http\[\]\.delegate\..*": "the rule is refused by name, and its last good version stays",
    r"Sidecar ingress\[\]\.port\.name": "required, and a name for humans only",
}
"""Fields whose effect is not what the table's answer would be, and why that is right."""


def value_of(kind: str, path: str, leaf: LeafField) -> Any:
    """A value that is legal and no default."""
    ends = [end for end in _VALUES if path == end or path.endswith(f".{end}")]
    own = [end for end in _VALUES if end.startswith(f"{kind}:") and path.endswith(end.partition(":")[2])]
    if own or ends:
        return _VALUES[max(own or ends, key=len)]
    if leaf.enum:
        return next(member for member in leaf.enum[::-1] if "UNS" not in member and "DEFAULT" not in member)
    if re.search(r"(?i)timeout|interval|delay|ttl|backoff|duration|maxAge|time$|period", path):
        return "7s"
    by_type = {
        "integer": 7, "number": 7.5, "boolean": True, "string": "x", "[string]": ["x"], "map<string,string>": {"x": "y"},
    }  # fmt: skip
    return by_type.get(leaf.type, "x")


def put(document: Any, path: str, value: Any) -> None:
    """Set a field; `[]` is the first item of a list, `{}` one key of a map, None takes the field away."""
    name, _, rest = path.partition(".")
    key = name.rstrip("[]{}")
    if name.endswith("[]"):
        items = document.setdefault(key, [])
        if not items:
            items.append({})
        put(items[0], rest, value)
    elif name.endswith("{}"):
        inner = document.setdefault(key, {}).setdefault(_KEYS[name], {})
        put(inner, rest, value) if rest else None
    elif rest:
        put(document.setdefault(key, {}), rest, value)
    elif value is None:
        document.pop(key, None)
    else:
        document[key] = value


def documents(kind: str, path: str, leaf: LeafField) -> tuple[dict[str, Any], dict[str, Any]]:
    """The spec without and with the leaf."""
    before = copy.deepcopy(_BASES[kind])
    for pattern, fields in _CONTEXTS[kind]:
        found = re.match(pattern, path)
        if found:
            for name, value in fields.items():
                prefix = found[1]
                if name.startswith(".."):
                    prefix, name = prefix.removesuffix("match[]."), name[2:]
                elif name.startswith("."):
                    prefix, name = "", name[1:]
                put(before, prefix + name, copy.deepcopy(value))
            break
    if kind == "DestinationRule" and "portLevelSettings[]" in path and not path.endswith("port.number"):
        number = 81 if re.search("maxConcurrent|http2KeepAlive", path) else 80
        put(before, path.partition("portLevelSettings[]")[0] + "portLevelSettings[].port.number", number)
    after = copy.deepcopy(before)
    put(after, path, value_of(kind, path, leaf))
    return before, after


@functools.cache
def mesh_of(kind: str) -> Mesh:
    """Where objects of a kind are tried, one after the other."""
    mesh = Mesh(_WORLD + _AROUND.get(kind, ""))
    # Who else fetches keys is no proxy.
    mesh.graph.apply([(JWKS_FETCHER, None, KeyFetcher.HYBRID)])
    return mesh


@functools.lru_cache(maxsize=64)  # what is there before a leaf is set is the same for many
def everything(kind: str, spec: str) -> dict[tuple[str, str, str], bytes]:
    security = kind in ("PeerAuthentication", "RequestAuthentication", "AuthorizationPolicy")
    group = "security.istio.io/v1" if security else "networking.istio.io/v1"
    mesh = mesh_of(kind)
    metadata = {"name": "tried", "namespace": "shop"}
    mesh.adopt([decode({"apiVersion": group, "kind": kind, "metadata": metadata, "spec": json.loads(spec)})])
    try:
        return {
            (proxy, resource.type_url, resource.name): resource.payload
            for proxy in PROXIES
            for held in resources(mesh, proxy).values()
            for resource in held.values()
        }
    except QueryFailed:
        return {}


def leaves() -> Iterator[tuple[str, str]]:
    for kind in _BASES:
        yield from ((kind, path) for path in leaf_paths(kind))


@pytest.mark.parametrize(("kind", "path"), [*leaves()])
def test_a_field_has_an_effect_if_and_only_if_the_table_says_so(kind: str, path: str) -> None:
    before, after = documents(kind, path, leaf_paths(kind)[path])
    assert before != after
    changed = everything(kind, json.dumps(before)) != everything(kind, json.dumps(after))
    listed = SUPPORTED[kind].entry(path) is not None
    otherwise = any(re.fullmatch(pattern, f"{kind} {path}") for pattern in _OTHERWISE)
    assert changed is (listed is not otherwise), f"{before} -> {after}"
