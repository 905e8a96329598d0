"""The source against a real API server."""

import base64
import random
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from crds.kubernetes import Service
from crds.virtualservice import VirtualService
from dragoman.kube import Cluster
from dragoman.kube.resources import CONFIG_MAPS, NAMESPACES, PODS, SECRETS, SERVICES
from dragoman.sources.change import Report
from dragoman.sources.kubernetes import reflector, scopes, source
from tests.sources.kubernetes.cluster_objects import Seen, define, document, followed, resource, service, undefine
from tests.support.api_server import ApiServer
from tests.support.cut_connections import relay
from tests.support.until import until

pytestmark = pytest.mark.real_api

VIRTUAL_SERVICES, GATEWAYS = resource("VirtualService"), resource("Gateway")


def route(name: str, namespace: str, host: str = "a", labels: dict[str, str] | None = None) -> dict[str, Any]:
    spec = {"hosts": [host], "http": [{"route": [{"destination": {"host": host}}]}]}
    return document("VirtualService", name, namespace, spec=spec, metadata={"labels": labels or {}})


def pod(name: str, namespace: str, **labels: str) -> dict[str, Any]:
    containers = [{"name": "app", "image": "none"}]
    return document("Pod", name, namespace, spec={"containers": containers}, metadata={"labels": labels})


def settings(namespace: str, mesh: str) -> dict[str, Any]:
    return document("ConfigMap", "istio", namespace, data={"mesh": mesh})


@pytest.fixture
async def other(api_server: ApiServer, cluster: Cluster, namespace: str) -> AsyncIterator[str]:
    """A second namespace."""
    name = f"{namespace}-b"
    await cluster.create(NAMESPACES, document("Namespace", name))
    yield name
    await api_server.remove_namespace(name)


async def test_what_is_there_is_loaded_and_what_happens_is_told(cluster: Cluster, namespace: str) -> None:
    await cluster.create(SERVICES, service("a", namespace))
    async with followed(cluster) as seen:
        assert seen.names("Service", namespace) == {"a"}
        assert seen.get("Namespace", "", namespace) is not None
        await cluster.create(SERVICES, service("b", namespace, 80, 90))
        await seen.until(lambda: seen.names("Service", namespace) == {"a", "b"})
        assert [port.port for port in seen.get("Service", namespace, "b").spec.ports] == [80, 90]
        await cluster.patch(SERVICES, "b", {"spec": {"ports": [{"port": 91, "name": "x"}]}}, namespace)
        await seen.until(lambda: any(p.port == 91 for p in seen.get("Service", namespace, "b").spec.ports))
        await cluster.delete(SERVICES, "b", namespace)
        await seen.until(lambda: seen.names("Service", namespace) == {"a"})


async def test_a_write_that_changes_nothing_we_read_is_no_change(cluster: Cluster, namespace: str) -> None:
    await define(cluster, "VirtualService")
    await cluster.create(VIRTUAL_SERVICES, route("a", namespace))
    async with followed(cluster) as seen:
        status = {"status": {"observedGeneration": "1"}}
        await cluster.patch(VIRTUAL_SERVICES, "a", status, namespace, subresource="status")
        await cluster.create(VIRTUAL_SERVICES, route("b", namespace))
        await seen.until(lambda: "b" in seen.names("VirtualService", namespace))
        assert ("VirtualService", namespace, "a") not in [tuple(key) for b in seen.batches[1:] for key in keys(b)]


def keys(batch: Any) -> list[Any]:
    return [change.key for change in batch.changes]


async def test_a_kind_that_comes_and_goes_while_running(cluster: Cluster, namespace: str) -> None:
    kinds = resource("WorkloadGroup")
    spec = {"template": {"serviceAccount": "default"}}
    await undefine(cluster, "WorkloadGroup")
    async with followed(cluster) as seen:
        assert not any(scope.resource.kind == "WorkloadGroup" for scope in seen.source.followed)
        await define(cluster, "WorkloadGroup")
        await cluster.create(kinds, document("WorkloadGroup", "g", namespace, spec=spec))
        await seen.until(lambda: "g" in seen.names("WorkloadGroup", namespace))
        # Until it is gone: the definition that comes next would else be applied to one that is about to go.
        await undefine(cluster, "WorkloadGroup")
        await seen.until(lambda: not seen.names("WorkloadGroup", namespace))
        # And once more, with what has been followed before; that it no longer is comes with no batch.
        await until(lambda: not any(scope.resource.kind == "WorkloadGroup" for scope in seen.source.followed))
        await define(cluster, "WorkloadGroup")
        await cluster.create(kinds, document("WorkloadGroup", "h", namespace, spec=spec))
        await seen.until(lambda: "h" in seen.names("WorkloadGroup", namespace))
    await undefine(cluster, "WorkloadGroup")


async def test_an_object_at_another_served_version_is_the_same_object(cluster: Cluster, namespace: str) -> None:
    await define(cluster, "VirtualService")
    old = route("a", namespace) | {"apiVersion": "networking.istio.io/v1alpha3"}
    await cluster.create(resource("VirtualService", "v1alpha3"), old)
    async with followed(cluster) as seen:
        assert seen.get("VirtualService", namespace, "a").spec.hosts == ("a",)


def reported(seen: Seen, kind: str, namespace: str) -> list[Report]:
    return [each for each in seen.reports if each.key is not None and each.key[:2] == (kind, namespace)]


async def test_what_is_broken_keeps_its_last_good_version_and_is_told_once(cluster: Cluster, namespace: str) -> None:
    await define(cluster, "VirtualService")
    await cluster.create(VIRTUAL_SERVICES, route("a", namespace))
    async with followed(cluster) as seen:
        good = seen.get("VirtualService", namespace, "a")
        await cluster.patch(VIRTUAL_SERVICES, "a", {"spec": {"httpp": []}}, namespace)
        await seen.until(lambda: bool(reported(seen, "VirtualService", namespace)))
        (report,) = reported(seen, "VirtualService", namespace)
        assert report.problem.code == "DRG0101"
        assert report.kept_last_good
        assert str(report).startswith(f"DRG0101 VirtualService {namespace}/a: spec.httpp")
        assert seen.get("VirtualService", namespace, "a") is good
        await cluster.patch(VIRTUAL_SERVICES, "a", {"metadata": {"labels": {"x": "y"}}}, namespace)
        await cluster.create(VIRTUAL_SERVICES, route("b", namespace))
        await seen.until(lambda: "b" in seen.names("VirtualService", namespace))
        assert reported(seen, "VirtualService", namespace) == [report]
        assert [each for each in seen.source.reports() if each.key == report.key] == [report]
        await cluster.patch(VIRTUAL_SERVICES, "a", {"spec": {"httpp": None}}, namespace)
        await seen.until(lambda: seen.get("VirtualService", namespace, "a") != good)
        assert not [each for each in seen.source.reports() if each.key == report.key]


async def test_namespaces_that_are_not_selected_take_no_part(cluster: Cluster, namespace: str, other: str) -> None:
    for each in (namespace, other):
        await cluster.create(SERVICES, service("a", each))
    await cluster.create(CONFIG_MAPS, settings(namespace, "discoverySelectors: [{matchLabels: {mesh: in}}]"))
    await cluster.patch(NAMESPACES, other, {"metadata": {"labels": {"mesh": "in"}}})
    async with followed(cluster, namespace) as seen:
        assert seen.names("Service", other) == {"a"}
        assert seen.names("Service", namespace) == set()
        await cluster.patch(NAMESPACES, namespace, {"metadata": {"labels": {"mesh": "in"}}})
        await seen.until(lambda: seen.names("Service", namespace) == {"a"})
        await cluster.patch(NAMESPACES, other, {"metadata": {"labels": {"mesh": "out"}}})
        await seen.until(lambda: seen.names("Service", other) == set())
        await cluster.replace(CONFIG_MAPS, settings(namespace, "{}"))
        await seen.until(lambda: seen.names("Service", other) == {"a"})


async def test_objects_of_other_revisions_are_not_ours(cluster: Cluster, namespace: str) -> None:
    await define(cluster, "VirtualService")
    for name, labels in (("none", {}), ("ours", {"istio.io/rev": "blue"}), ("theirs", {"istio.io/rev": "green"})):
        await cluster.create(VIRTUAL_SERVICES, route(name, namespace, labels=labels))
    async with followed(cluster, revision="blue") as seen:
        assert seen.names("VirtualService", namespace) == {"none", "ours"}
        await cluster.patch(VIRTUAL_SERVICES, "theirs", {"metadata": {"labels": {"istio.io/rev": "blue"}}}, namespace)
        await seen.until(lambda: seen.names("VirtualService", namespace) == {"none", "ours", "theirs"})


async def test_the_mesh_settings_are_those_of_our_namespace(cluster: Cluster, namespace: str) -> None:
    await cluster.create(CONFIG_MAPS, settings(namespace, "trustDomain: a.b"))
    await cluster.create(CONFIG_MAPS, document("ConfigMap", "other", namespace, data={"mesh": "{}"}))
    async with followed(cluster, namespace) as seen:
        assert seen.get("ConfigMap", "istio-system", "istio").data == {"mesh": "trustDomain: a.b"}
        assert seen.names("ConfigMap", namespace) == set()
        await cluster.replace(CONFIG_MAPS, settings(namespace, "trustDomain: ["))
        await seen.until(lambda: bool(reported(seen, "ConfigMap", "istio-system")))
        assert seen.get("ConfigMap", "istio-system", "istio").data == {"mesh": "trustDomain: a.b"}
        found = reported(seen, "ConfigMap", "istio-system")[0].key
        assert found is not None
        assert seen.source.location(found) == f"ConfigMap {namespace}/istio"


async def test_a_gateways_certificate_comes_with_it_and_no_other_secret(
    cluster: Cluster, namespace: str, other: str
) -> None:
    await define(cluster, "Gateway")
    for name in ("cert", "private"):
        data = {"tls.crt": base64.b64encode(b"c").decode(), "tls.key": base64.b64encode(b"k").decode()}
        await cluster.create(SECRETS, document("Secret", name, namespace, data=data, type="kubernetes.io/tls"))
    await cluster.create(PODS, pod("gw", namespace, istio="ingress"))
    async with followed(cluster) as seen:
        assert seen.names("Secret", namespace) == set()
        # The Gateway may be of another namespace: what counts is where its pods are.
        server = {
            "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
            "hosts": ["*"],
            "tls": {"mode": "SIMPLE", "credentialName": "cert"},
        }
        spec = {"selector": {"istio": "ingress"}, "servers": [server]}
        await cluster.create(GATEWAYS, document("Gateway", "g", other, spec=spec))
        await seen.until(lambda: any(("Gateway", other, "g") in keys(batch) for batch in seen.batches))
        (told,) = [keys(batch) for batch in seen.batches if ("Gateway", other, "g") in keys(batch)]
        assert {key.kind for key in told} == {"Gateway", "Secret"}
        assert seen.names("Secret", namespace) == {"cert"}
        await cluster.patch(SECRETS, "cert", {"data": {"tls.crt": "eA=="}}, namespace)
        await seen.until(lambda: seen.get("Secret", namespace, "cert").data["tls.crt"] == b"x")
        await cluster.delete(GATEWAYS, "g", other)
        await seen.until(lambda: seen.names("Secret", namespace) == set())


async def test_what_is_forbidden_is_said_once_and_the_rest_works(
    api_server: ApiServer, cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reflector, "_DENIED_PAUSE", 0.2)
    await cluster.create(SERVICES, service("a", namespace))
    await cluster.create(PODS, pod("p", namespace))
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": namespace}}
    rules = [
        {"apiGroups": ["", "apiextensions.k8s.io", "discovery.k8s.io"], "resources": ["*"], "verbs": ["list", "watch"]}
    ]
    subjects = [{"kind": "User", "name": namespace, "apiGroup": "rbac.authorization.k8s.io"}]
    reference = {"kind": "ClusterRole", "name": namespace, "apiGroup": "rbac.authorization.k8s.io"}
    roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    without_pods = [{"apiGroups": [""], "resources": ["services", "namespaces"], "verbs": ["list", "watch"]}]
    await cluster.request("POST", roles, body=role | {"rules": without_pods})
    binding = role | {"kind": "ClusterRoleBinding", "subjects": subjects, "roleRef": reference}
    await cluster.request("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", body=binding)
    async with await Cluster.connect(api_server.user(namespace)) as limited, followed(limited) as seen:
        assert seen.names("Service", namespace) == {"a"}
        assert seen.names("Pod", namespace) == set()
        denied = [report for report in seen.reports if "pods cannot be read" in str(report)]
        assert len(denied) == 1
        assert "allow it to get, list and watch pods" in str(denied[0])
        assert denied[0] in seen.source.reports()
        await cluster.request("PUT", f"{roles}/{namespace}", body=role | {"rules": rules})
        await seen.until(lambda: seen.names("Pod", namespace) == {"p"})
        assert denied[0] not in seen.source.reports()
        assert len([report for report in seen.reports if "pods cannot be read" in str(report)]) == 1


async def test_an_outage_of_the_api_server_changes_nothing(
    api_server: ApiServer, cluster: Cluster, namespace: str
) -> None:
    await define(cluster, "VirtualService")
    await cluster.create(VIRTUAL_SERVICES, route("v", namespace))
    for name in ("a", "b"):
        await cluster.create(SERVICES, service(name, namespace))
    async with followed(cluster) as seen:
        lists = {scope: each.reflector.lists for scope, each in seen.source.followed.items()}
        loaded = len(seen.batches)
        await api_server.stop_server()
        try:
            assert seen.names("Service", namespace) == {"a", "b"}
            await api_server.compact()
        finally:
            await api_server.start_server()
        await cluster.create(SERVICES, service("c", namespace))
        await seen.until(lambda: "c" in seen.names("Service", namespace), within=120)
        await cluster.create(VIRTUAL_SERVICES, route("w", namespace))
        await seen.until(lambda: "w" in seen.names("VirtualService", namespace), within=120)
        told = [key for batch in seen.batches[loaded:] for key in keys(batch) if key.kind != "EndpointSlice"]
        assert [key.name for key in told if key.namespace == namespace] == ["c", "w"]
        assert all(each.reflector.lists <= lists.get(scope, 0) + 6 for scope, each in seen.source.followed.items())


async def test_watches_that_are_cut_again_and_again_miss_nothing(
    api_server: ApiServer, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    await cluster.create(SERVICES, service("a", namespace))
    async with relay(api_server.server) as way:
        config = tmp_path / "config"
        config.write_text(api_server.kubeconfig.read_text().replace(api_server.server, way.address))
        async with await Cluster.connect(config) as shaky, followed(shaky) as seen:
            lists = {scope: each.reflector.lists for scope, each in seen.source.followed.items()}
            loaded = len(seen.batches)
            for port in range(1, 31):
                if port % 3 == 0:
                    way.cut()
                await cluster.replace(SERVICES, service("a", namespace, port))
            await seen.until(lambda: seen.get("Service", namespace, "a").spec.ports[0].port == 30)
            told = {key for batch in seen.batches[loaded:] for key in keys(batch)}
            assert {key.kind for key in told if key.namespace == namespace} <= {"Service", "EndpointSlice"}
            assert {scope: each.reflector.lists for scope, each in seen.source.followed.items()} == lists


async def test_many_certificates_of_a_namespace_are_read_together(
    cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "narrowest", partial(scopes.narrowest, at_most=2))
    await define(cluster, "Gateway")
    await cluster.create(PODS, pod("gw", namespace, istio=namespace))
    for name in ("a", "b", "c", "d"):
        data = {"tls.crt": base64.b64encode(name.encode()).decode()}
        await cluster.create(SECRETS, document("Secret", name, namespace, data=data))

    def gateway(*credentials: str) -> dict[str, Any]:
        servers = [
            {
                "port": {"number": 443, "name": f"https-{name}", "protocol": "HTTPS"},
                "hosts": [f"{name}.example"],
                "tls": {"mode": "SIMPLE", "credentialName": name},
            }
            for name in credentials
        ]
        return document("Gateway", "g", namespace, spec={"selector": {"istio": namespace}, "servers": servers})

    def secrets() -> set[str]:
        return {str(scope) for scope in seen.source.followed if scope.resource == SECRETS and scope.namespace}

    await cluster.create(GATEWAYS, gateway("a"))
    async with followed(cluster) as seen:
        assert seen.names("Secret", namespace) == {"a"}
        assert secrets() == {f"secrets {namespace}/a"}
        loaded = len(seen.batches)
        await cluster.apply(GATEWAYS, gateway("a", "b", "c"))
        await seen.until(lambda: seen.names("Secret", namespace) == {"a", "b", "c"})
        assert secrets() == {f"secrets {namespace}"}
        await cluster.apply(GATEWAYS, gateway("c"))

        def gone() -> list[str]:
            changes = (change for batch in seen.batches[loaded:] for change in batch.changes)
            return sorted(str(change.key) for change in changes if change.new is None)

        # What the source has is so before its batch is told.
        await seen.until(lambda: seen.names("Secret", namespace) == {"c"} and len(gone()) > 1)
        assert secrets() == {f"secrets {namespace}/c"}
        # What was read both ways never went.
        assert gone() == [f"Secret {namespace}/{name}" for name in ("a", "b")]


async def test_whatever_happens_the_source_ends_up_with_what_is_there(
    api_server: ApiServer, cluster: Cluster, namespace: str, other: str, tmp_path: Path
) -> None:
    await define(cluster, "VirtualService")
    chance = random.Random(namespace)  # noqa: S311
    written: dict[tuple[str, str, str], Any] = {}

    async def happens() -> None:
        where = chance.choice((namespace, other))
        name = f"n{chance.randrange(8)}"
        of = chance.choice((SERVICES, VIRTUAL_SERVICES))
        key = (of.kind, where, name)
        if key in written and chance.random() < 0.4:
            del written[key]
            await cluster.delete(of, name, where)
            return
        value = chance.randrange(1, 1000)
        body = service(name, where, value) if of is SERVICES else route(name, where, f"h{value}")
        written[key] = value
        await cluster.apply(of, body)

    def held() -> dict[tuple[str, str, str], Any]:
        found = {}
        for key, obj in seen.source.objects.items():
            if key.namespace in (namespace, other):
                if isinstance(obj, Service):
                    found[tuple(key)] = obj.spec.ports[0].port
                elif isinstance(obj, VirtualService):
                    found[tuple(key)] = int(obj.spec.hosts[0].removeprefix("h"))
        return found

    async with relay(api_server.server) as way:
        config = tmp_path / "config"
        config.write_text(api_server.kubeconfig.read_text().replace(api_server.server, way.address))
        async with await Cluster.connect(config) as shaky, followed(shaky) as seen:
            for _ in range(120):
                await happens()
                if chance.random() < 0.1:
                    way.cut()

            def told() -> dict[Any, Any]:
                """What was told adds up to this."""
                found: dict[Any, Any] = {}
                for batch in seen.batches:
                    for change in batch.changes:
                        assert found.get(change.key) == change.old
                        found[change.key] = change.new
                return {key: obj for key, obj in found.items() if obj is not None}

            # What the source has is so before its batch is told.
            await seen.until(lambda: held() == written and told() == dict(seen.source.objects))
