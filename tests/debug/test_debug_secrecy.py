"""No page shows a private key, the content of a Secret, or a token."""

import base64
from pathlib import Path

from tests.debug.debug_proxy import proxy_at
from tests.debug.running_plane import CART, CLUSTER_OF_WEB, MESH, WEB, running_plane

MARK = "sw0rdfish-in-a-secret"
TOKEN = "t0ken-of-the-debug-pages"  # noqa: S105
GATEWAY = "router~10.1.0.9~gateway-1.shop~shop.svc.cluster.local"


def secrets(key: str, certificate: str) -> str:
    encoded = base64.b64encode(MARK.encode()).decode()
    pem = {"tls.crt": base64.b64encode(certificate.encode()), "tls.key": base64.b64encode(key.encode())}
    return f"""
---
apiVersion: v1
kind: Secret
metadata: {{name: password, namespace: shop}}
data: {{password: {encoded}}}
stringData: {{other: {MARK}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: site, namespace: shop}}
type: kubernetes.io/tls
data: {{tls.crt: {pem["tls.crt"].decode()}, tls.key: {pem["tls.key"].decode()}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: gateway-1, namespace: shop, labels: {{istio: gateway}}}}
spec: {{serviceAccountName: gateway}}
status: {{podIP: 10.1.0.9}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: site, namespace: shop}}
spec:
  selector: {{istio: gateway}}
  servers:
  - port: {{number: 8443, name: https, protocol: HTTPS}}
    hosts: ["*"]
    tls: {{mode: SIMPLE, credentialName: site}}
"""


async def test_no_page_shows_what_is_secret(tmp_path: Path, key_and_certificate: tuple[str, str]) -> None:
    key, certificate = key_and_certificate
    async with (
        running_plane(tmp_path, MESH + secrets(key, certificate), token=TOKEN) as running,
        proxy_at(running.xds_port, WEB, rejects={CLUSTER_OF_WEB: "no"}),
        proxy_at(running.xds_port, CART),
        proxy_at(running.xds_port, GATEWAY) as gateway,
    ):
        secret_type = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105
        await gateway.ask(secret_type, ["kubernetes://site"])
        # What must not be shown is there: delivered to those that may have it.
        assert key.encode() in gateway.held[secret_type]["kubernetes://site"]
        assert b"PRIVATE KEY" in gateway.held[secret_type]["default"]
        pages = [page["path"] for page in await running.ask("/debug/list")]
        pages += [f"/debug/config_dump?proxyID={name}.shop" for name in ("web-1", "cart-1", "gateway-1")]
        shown = {page: (await running.get(page))[1] for page in pages}
    key_lines = [line for line in key.splitlines() if "-----" not in line]
    forbidden = {
        "PRIVATE KEY": "a private key",
        base64.b64encode(b"-----BEGIN PRIVATE").decode().rstrip("=")[:-1]: "a private key",
        MARK: "the content of a Secret",
        base64.b64encode(MARK.encode()).decode(): "the content of a Secret",
        key_lines[1]: "the key of a gateway",
        TOKEN: "the token",
    }
    assert len(shown) > 12
    for page, text in shown.items():
        for word, what in forbidden.items():
            assert word not in text, f"{page} shows {what}"
    assert "kubernetes://site" in shown["/debug/config_dump?proxyID=gateway-1.shop"]
