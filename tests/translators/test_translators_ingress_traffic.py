"""Kubernetes Ingresses through a real gateway Envoy."""

from pathlib import Path

import pytest
import yaml

from tests.translators.gateway_certificates import Authority
from tests.translators.gateway_mesh import gateway_mesh, secret

pytestmark = pytest.mark.envoy

CA = Authority()
INGRESSES = """
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: mesh}
spec: {controller: istio.io/ingress-controller}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: plain, namespace: shop, creationTimestamp: 2026-01-01T00:00:00Z}
spec:
  ingressClassName: mesh
  rules:
  - host: a.example.com
    http:
      paths:
      - {path: /api, pathType: Prefix, backend: {service: {name: server, port: {number: 8080}}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: secure, namespace: shop, creationTimestamp: 2026-02-01T00:00:00Z}
spec:
  ingressClassName: mesh
  tls: [{hosts: [a.example.com], secretName: cert-a}]
  rules:
  - host: a.example.com
    http:
      paths:
      - {path: /exact, pathType: Exact, backend: {service: {name: server, port: {name: http}}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: theirs, namespace: shop}
spec:
  ingressClassName: nginx
  rules:
  - host: b.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: server, port: {number: 8080}}}}]}
"""


async def test_ingresses_lead_to_their_services(tmp_path: Path) -> None:
    certificate = CA.issue("a.example.com")
    files = {"ingresses": INGRESSES, "certificate": yaml.safe_dump(secret("cert-a", certificate))}
    tls = CA.trusting()
    async with gateway_mesh(tmp_path, files) as mesh:
        for path in ("/api", "/api/deep", "/exact"):
            await mesh.eventually(lambda path=path: mesh.get(f"http://{path}", "a.example.com"), 200)
            # By the certificate that only one of the Ingresses of this host names.
            assert (await mesh.get(f"https://{path}", "a.example.com", tls=tls)).status == 200
        for path, host in (("/apis", "a.example.com"), ("/exact/x", "a.example.com"), ("/", "b.example.com")):
            assert (await mesh.get(f"http://{path}", host)).status == 404
