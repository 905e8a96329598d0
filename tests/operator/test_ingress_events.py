"""What authors of Ingresses hear of: fields without effect, credentials that are missing, what an Envoy rejected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from operating import LOCAL, taking

from ca.authority import new_root
from crds.meta import ObjectKey
from dragoman.codec import ROUTE
from dragoman.kube import ApiResource, Cluster
from dragoman.kube.resources import INGRESSES
from dragoman.operator.events import Events, Told
from dragoman.operator.ingress_events import IngressEvents
from dragoman.operator.replicas import Replicas
from dragoman.runtime import ControlPlane
from dragoman.sources.files import FileSource
from tests.support.scripted_proxy import ScriptedProxy
from tests.support.until import until
from xds import Node

WEB = ObjectKey("Ingress", "shop", "web")
NO_CLUSTER = cast("Cluster", None)
MESH = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: gateway-1, namespace: istio-system, labels: {istio: ingressgateway}}
status: {podIP: 10.1.0.1}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: istio}
spec: {controller: istio.io/ingress-controller}
"""


def ingress(path: str, port: str = "http", **spec: Any) -> str:
    backend = f"{{service: {{name: web, port: {{name: {port}}}}}}}"
    more = "".join(f"\n  {field}: {value}" for field, value in spec.items())
    return f"""
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: web, namespace: shop}}
spec:
  ingressClassName: istio
  rules: [{{host: web.example.com, http: {{paths: [{{path: {path}, pathType: Prefix, backend: {backend}}}]}}}}]{more}
"""


class Heard(Events):
    """Keeps what was told."""

    def __init__(self) -> None:
        super().__init__(NO_CLUSTER, "one")
        self.said: list[tuple[str, str]] = []

    def tell_of(self, key: ObjectKey, resource: ApiResource, uid: str, said: Iterable[Told]) -> None:
        assert (key, resource) == (WEB, INGRESSES)
        self.said += [(told.reason, told.note) for told in said]


class Mesh:
    """A control plane with a folder, and its leader's duty."""

    def __init__(self, folder: Path, plane: ControlPlane, heard: Heard) -> None:
        self.folder, self.plane, self.heard = folder, plane, heard

    def write(self, text: str) -> None:
        (self.folder / "mesh.yaml").write_text(MESH + text)

    async def hears(self, reason: str, *parts: str) -> list[tuple[str, str]]:
        """Wait until this is told; all that was, which is forgotten."""

        async def told() -> bool:
            return any(said == reason and all(part in note for part in parts) for said, note in self.heard.said)

        await until(told)
        said, self.heard.said = self.heard.said, []
        return said


@asynccontextmanager
async def mesh(folder: Path, text: str) -> AsyncIterator[Mesh]:
    heard = Heard()
    (folder / "mesh.yaml").write_text(MESH + text)
    plane = ControlPlane(FileSource(folder), new_root("cluster.local", now=datetime.now(UTC)))
    await plane.load()
    duty = IngressEvents(plane, Replicas(NO_CLUSTER, plane, "istio-system", "one"), heard)
    tasks = [asyncio.create_task(each) for each in (plane.run(), duty.run())]
    try:
        yield Mesh(folder, plane, heard)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_fields_without_effect_are_told_once_with_their_code(tmp_path: Path) -> None:
    backend = "{service: {name: web, port: {number: 80}}}"
    async with mesh(tmp_path, ingress("/", defaultBackend=backend)) as running:
        await running.hears("NoEffect", "DRG0202 spec.defaultBackend: ", "write a rule without a host")
        running.write(ingress("/", "other", defaultBackend=backend))
        said = await running.hears("NoEffect", "DRG0406 spec.rules[0].http.paths[0].backend: ", "no port named 'other'")
        assert len(said) == 1


async def test_what_an_envoy_rejects_and_what_it_lacks(tmp_path: Path) -> None:
    node = Node("router~10.1.0.1~gateway-1.istio-system~istio-system.svc.cluster.local")
    async with mesh(tmp_path, ingress("/a")) as running:
        proxy = await ScriptedProxy(running.plane, await running.plane.connect(node, LOCAL)).begin()
        (name,) = (name for view in proxy.session.views for name in view.table(ROUTE))
        async with taking(proxy, rejects={name: "no such path"}):
            running.write(ingress("/b"))
            await running.hears("Rejected", f"rds '{name}' rejected", "no such path")
        async with taking(proxy):
            running.write(ingress("/c"))
            await running.hears("Programmed", "1/1 proxies have accepted it")
            running.write(ingress("/c", tls="[{hosts: [web.example.com], secretName: site}]"))
            await running.hears("CredentialNotFound", "DRG0501", "site")
