"""A sidecar that asks an external authorizer behind a sidecar of its own.

The authorizer is an echo server, of which a request asks the status: `?status=403` denies itself.
"""

import pytest

from e2e.harness import EchoApp, Mesh, Pod, eventually, mesh_settings

pytestmark = [pytest.mark.netns, pytest.mark.envoy]

PROVIDER = """
extensionProviders:
- name: guard
  envoyExtAuthzHttp:
    service: guard.guards.svc.cluster.local
    port: 8000
    pathPrefix: /check
"""

ASK = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask, namespace: default}
spec:
  action: CUSTOM
  provider: {name: guard}
  selector: {matchLabels: {app: server}}
  rules: [{to: [{operation: {paths: [/private*]}}]}]
"""

# The server's applications may call nothing beyond their namespace; its proxy must ask the authorizer all the same.
CONFINED = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: default}
spec:
  egress: [{hosts: [./*]}]
"""

STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: guards}
spec: {mtls: {mode: STRICT}}
"""

ONLY_FOR_THE_SERVER = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only, namespace: guards}
spec:
  rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/server]}}]}]
"""


async def status(client: Pod, path: str) -> int:
    return (await client.http(f"http://server.default:8080{path}")).status


async def test_the_authorizer_is_asked_over_mutual_tls_as_the_server_and_where_no_scope_imports_it(mesh: Mesh) -> None:
    await mesh.service("server", {"http": 8080})
    await mesh.service("guard", {"http": 8000}, namespace="guards")
    mesh.configuration.apply(mesh_settings(PROVIDER), CONFINED, STRICT, ONLY_FOR_THE_SERVER)
    async with (
        mesh.pod("guard", app=EchoApp(http=(8000,)), namespace="guards", sidecar=True) as guard,
        mesh.pod("server", app=EchoApp(http=(8080,)), sidecar=True),
        mesh.pod("client", sidecar=True) as client,
    ):
        with mesh.configuration.during(ASK):
            denied = await eventually(
                lambda: client.http("http://server.default:8080/private?status=401"),
                lambda answer: answer.status == 401 and answer.echo.workload == "guard",  # its answer, not the server's
            )
            assert denied.echo.path == "/check/private?status=401"
            allowed = await client.http("http://server.default:8080/private")
            assert (allowed.status, allowed.echo.workload) == (200, "server")
            assert await status(client, "/public?status=401") == 401, "the server's own answer"
            assert (await client.http("http://server.default:8080/public?status=401")).echo.workload == "server"
            await mesh.set_ready(guard, False)
            await eventually(lambda: status(client, "/private"), lambda seen: seen == 403)
            assert await status(client, "/public") == 200
            await mesh.set_ready(guard, True)
            await eventually(lambda: status(client, "/private"), lambda seen: seen == 200)
        await eventually(lambda: status(client, "/private"), lambda seen: seen == 200)
