"""Kubernetes' own kinds: the fields we read, the nulls that Go writes, secrets that stay secret."""

import base64
import datetime
import json
from typing import Any

import pytest
import yaml

from crds import Invalid, age_order, decode, decode_json, encode
from crds.kubernetes import (
    ClusterTrustBundle,
    ConfigMap,
    Endpoints,
    EndpointSlice,
    Namespace,
    Node,
    Pod,
    Secret,
    Service,
    ServiceAccount,
)
from crds.kubernetes.service import ServicePort
from crds.meta import ObjectMeta
from crds.registry import KUBERNETES_KINDS


def load(text: str) -> Any:
    return decode(yaml.safe_load(text))


def test_service() -> None:
    service = load(
        """
        apiVersion: v1
        kind: Service
        metadata: {name: web, namespace: shop}
        spec:
          clusterIP: 10.0.0.1
          clusterIPs: [10.0.0.1, "fd00::1"]
          externalIPs: [192.0.2.1]
          trafficDistribution: PreferClose
          sessionAffinity: None
          selector: {app: web}
          ports:
          - {name: http, port: 80, targetPort: web}
          - {name: grpc, port: 81, targetPort: 8081, appProtocol: kubernetes.io/h2c}
        status: {loadBalancer: {ingress: [{ip: 192.0.2.7}]}}
        """
    )
    assert isinstance(service, Service)
    assert service.spec.cluster_ip == "10.0.0.1"
    assert service.spec.cluster_ips == ("10.0.0.1", "fd00::1")
    assert service.spec.external_ips == ("192.0.2.1",)
    assert service.spec.traffic_distribution == "PreferClose"
    assert service.spec.ports == (
        ServicePort(name="http", port=80, target_port="web"),
        ServicePort(name="grpc", port=81, target_port=8081, app_protocol="kubernetes.io/h2c"),
    )
    assert service.status.load_balancer.ingress[0].ip == "192.0.2.7"


def test_pod() -> None:
    pod = load(
        """
        apiVersion: v1
        kind: Pod
        metadata:
          name: web-1
          namespace: shop
          labels: {app: web, security.istio.io/tlsMode: istio}
          creationTimestamp: "2026-01-02T03:04:05Z"
          ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web, uid: u, controller: true, extra: 1}]
        spec:
          nodeName: n1
          hostNetwork: true
          containers: [{name: app, image: x, ports: [{containerPort: 8080, name: http}]}]
          initContainers: [{name: proxy, restartPolicy: Always}]
        status:
          phase: Running
          podIP: 10.1.0.1
          podIPs: [{ip: 10.1.0.1}, {ip: "fd00::2"}]
          hostIP: 192.0.2.1
          conditions: [{type: Ready, status: "True"}]
        """
    )
    assert isinstance(pod, Pod)
    assert pod.ready
    assert pod.service_account == "default"
    assert pod.status.pod_ip == "10.1.0.1"
    assert [held.ip for held in pod.status.pod_ips] == ["10.1.0.1", "fd00::2"]
    assert pod.spec.containers[0].ports[0].container_port == 8080
    assert pod.spec.init_containers[0].restart_policy == "Always"
    assert pod.metadata.owner_references[0].kind == "ReplicaSet"
    assert pod.metadata.creation_timestamp == datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


def test_endpoint_slice_with_the_nulls_that_go_writes() -> None:
    doc = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "web-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": None,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }
    empty = decode_json(json.dumps(doc).encode())
    assert isinstance(empty, EndpointSlice)
    assert empty.endpoints == ()
    doc["endpoints"] = [{"addresses": ["10.1.0.1"], "conditions": {"ready": True}, "zone": "a", "hints": None}]
    (endpoint,) = decode(doc).endpoints  # type: ignore[union-attr]
    assert (endpoint.addresses, endpoint.conditions.ready, endpoint.conditions.serving) == (("10.1.0.1",), True, None)


@pytest.mark.parametrize(
    ("text", "cls"),
    [
        ("{apiVersion: v1, kind: Endpoints, metadata: {name: a}, subsets: [{addresses: [{ip: 1.2.3.4}]}]}", Endpoints),
        ("{apiVersion: v1, kind: Namespace, metadata: {name: a}, spec: {finalizers: [kubernetes]}}", Namespace),
        (
            "{apiVersion: v1, kind: Node, metadata: {name: a}, status: {addresses: [{type: InternalIP, address: b}]}}",
            Node,
        ),
        ("{apiVersion: v1, kind: ServiceAccount, metadata: {name: a}, secrets: [{name: b}]}", ServiceAccount),
        (
            (
                "{apiVersion: certificates.k8s.io/v1beta1, kind: ClusterTrustBundle, metadata: {name: 'a:b:c'},"
                " spec: {signerName: a/b, trustBundle: pem}}"
            ),
            ClusterTrustBundle,
        ),
        ("{apiVersion: v1, kind: ConfigMap, metadata: {name: istio}, data: {mesh: 'a: b'}}", ConfigMap),
    ],
)
def test_the_smaller_kinds(text: str, cls: type) -> None:
    obj = load(text)
    assert type(obj) is cls
    assert decode(encode(obj)) == obj


def test_every_kind_can_be_empty() -> None:
    for name, cls in KUBERNETES_KINDS.items():
        doc = {"apiVersion": cls.resource.api_version(), "kind": name, "metadata": {"name": "a"}}
        assert type(decode(doc)) is cls


def secret() -> Secret:
    key = base64.b64encode(b"PRIVATE").decode()
    obj = load(
        f"{{apiVersion: v1, kind: Secret, metadata: {{name: tls}}, type: kubernetes.io/tls,"
        f" data: {{tls.key: {key}}}, stringData: {{tls.crt: CERTIFICATE}}}}"
    )
    assert isinstance(obj, Secret)
    return obj


def test_secret_values() -> None:
    assert secret().value("tls.key") == b"PRIVATE"
    assert secret().value("tls.crt") == b"CERTIFICATE"
    assert secret().value("ca.crt") is None


def test_secret_values_are_never_printed() -> None:
    printed = f"{secret()} {secret()!r} {[secret()]} {(secret(),)}"
    assert "tls.key" in printed
    for hidden in ("PRIVATE", "CERTIFICATE", base64.b64encode(b"PRIVATE").decode()):
        assert hidden not in printed


@pytest.mark.parametrize(
    "data", ["{tls.key: '!PRIVATE!'}", "{tls.key: [PRIVATE]}", "PRIVATE", "{tls.key: {a: PRIVATE}}"]
)
def test_broken_secrets_are_reported_without_their_values(data: str) -> None:
    with pytest.raises(Invalid) as caught:
        load(f"{{apiVersion: v1, kind: Secret, metadata: {{name: tls}}, data: {data}}}")
    assert caught.value.problems[0].path.startswith("data")
    assert "PRIVATE" not in str(caught.value)


def named(name: str, namespace: str, created: str | None = None) -> Service:
    when = datetime.datetime.fromisoformat(created) if created else None
    return Service(metadata=ObjectMeta(name=name, namespace=namespace, creation_timestamp=when))


def test_age_order() -> None:
    """Oldest first, then name, then namespace; no timestamp is oldest, as Go's zero time."""
    ordered = [
        named("a", "n2"),
        named("b", "n1"),
        named("z", "n1", "2025-01-01T00:00:00+00:00"),
        named("a", "n1", "2025-01-01T02:00:00+01:00"),
        named("b", "n0", "2025-01-01T01:00:00+00:00"),
        named("b", "n1", "2025-01-01T01:00:00"),
    ]
    shuffled = [ordered[index] for index in (3, 5, 0, 2, 4, 1)]
    assert sorted(shuffled, key=age_order) == ordered
