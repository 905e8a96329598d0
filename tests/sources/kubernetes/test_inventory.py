"""What of a cluster is in force, and what is said of it."""

import json
from typing import Any

import msgspec
import pytest

from crds.meta import ObjectKey
from crds.problem import Problem
from crds.registry import KINDS
from dragoman.sources.change import Batch
from dragoman.sources.kubernetes import judgement
from dragoman.sources.kubernetes.inventory import Inventory
from dragoman.sources.kubernetes.reflector import Delta
from tests.sources.kubernetes.cluster_objects import document, service

SETTINGS = ObjectKey("ConfigMap", "istio-system", "istio")


class Cluster:
    """An inventory that is told of documents."""

    def __init__(self, namespace: str = "istio-system", revision: str = "") -> None:
        self.inventory = Inventory((namespace, "istio"), revision)
        self.version = 0

    def put(self, *documents: dict[str, Any]) -> None:
        for each in documents:
            self.version += 1
            meta = {**each["metadata"], "resourceVersion": str(self.version)}
            # Lists of Kubernetes' own kinds do not say what their items are.
            body = {key: value for key, value in each.items() if key not in ("apiVersion", "kind")}
            raw = msgspec.Raw(json.dumps(body | {"metadata": meta}).encode())
            name = (meta.get("namespace", ""), meta["name"])
            self.inventory.take(KINDS[each["kind"]], [Delta(name, raw)])

    def delete(self, kind: str, namespace: str, name: str) -> None:
        self.inventory.take(KINDS[kind], [Delta((namespace, name), None)])

    def batch(self) -> Batch:
        found = self.inventory.batch()
        assert not self.inventory
        return found

    def names(self, kind: str) -> set[str]:
        return {f"{key.namespace}/{key.name}" for key in self.inventory.objects if key.kind == kind}


def namespace(name: str, **labels: str) -> dict[str, Any]:
    return document("Namespace", name, metadata={"labels": labels})


def route(name: str, namespace: str = "shop", **spec: Any) -> dict[str, Any]:
    http = [{"route": [{"destination": {"host": "a"}}]}]
    return document("VirtualService", name, namespace, spec={"hosts": ["a"], "http": http} | spec)


def gateway(name: str, credential: str, namespace: str = "edge", selector: dict[str, str] | None = None) -> Any:
    tls = {"mode": "SIMPLE", "credentialName": credential}
    server = {"port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": ["*"], "tls": tls}
    spec = {"selector": {"istio": "ingress"} if selector is None else selector, "servers": [server]}
    return document("Gateway", name, namespace, spec=spec)


def pod(name: str, namespace: str, **labels: str) -> dict[str, Any]:
    return document("Pod", name, namespace, metadata={"labels": labels})


def secret(name: str, namespace: str) -> dict[str, Any]:
    return document("Secret", name, namespace, data={"tls.crt": "eA=="})


def test_what_comes_and_goes_between_two_batches_was_never_there() -> None:
    cluster = Cluster()
    cluster.put(*(service(f"s{i}", "shop") for i in range(50)))
    assert len(cluster.batch().changes) == 50
    cluster.put(service("a", "shop"))
    cluster.delete("Service", "shop", "a")
    for port in (1, 2, 3):
        cluster.put(service("s0", "shop", port))
    (change,) = cluster.batch().changes
    assert change.key.name == "s0"
    assert change.new.spec.ports[0].port == 3


def test_a_write_that_leaves_what_we_read_is_no_change() -> None:
    cluster = Cluster()
    applied = {"kubectl.kubernetes.io/last-applied-configuration": "{}"}
    cluster.put(service("a", "shop"))
    cluster.batch()
    cluster.put(service("a", "shop"))
    cluster.put(service("a", "shop") | {"status": {"conditions": []}})
    with_annotation = service("a", "shop")
    with_annotation["metadata"]["annotations"] = applied
    cluster.put(with_annotation)
    assert not cluster.batch()


def test_an_object_is_never_in_force_without_having_been_good() -> None:
    cluster = Cluster()
    cluster.put(route("a", httpp=[]))
    batch = cluster.batch()
    assert batch.changes == ()
    assert [(report.problem.code, report.kept_last_good) for report in batch.reports] == [("DRG0101", False)]
    cluster.put(route("a"))
    batch = cluster.batch()
    assert [change.key.name for change in batch.changes] == ["a"]
    assert batch.judged == {ObjectKey("VirtualService", "shop", "a")}
    assert cluster.inventory.reports() == ()


def test_what_is_said_of_an_object_goes_with_it() -> None:
    cluster = Cluster()
    cluster.put(route("a"), route("a", httpp=[]))
    cluster.batch()
    assert cluster.inventory.reports()
    cluster.delete("VirtualService", "shop", "a")
    assert [change.new for change in cluster.batch().changes] == [None]
    assert cluster.inventory.reports() == ()


def test_selectors_select_by_the_labels_of_now() -> None:
    cluster = Cluster()
    cluster.put(namespace("shop", team="a"), namespace("bank", team="b"), service("s", "shop"), service("s", "bank"))
    cluster.batch()
    assert cluster.names("Service") == {"shop/s", "bank/s"}
    expression = "[{matchExpressions: [{key: team, operator: In, values: [a, c]}]}]"
    cluster.put(document("ConfigMap", "istio", "istio-system", data={"mesh": f"discoverySelectors: {expression}"}))
    assert [str(change.key) for change in cluster.batch().changes] == [
        "ConfigMap istio-system/istio",
        "Service bank/s",
    ]
    cluster.put(namespace("bank", team="c"))
    cluster.put(namespace("shop", team="d"))
    cluster.batch()
    assert cluster.names("Service") == {"bank/s"}
    # Namespaces themselves are always known: their labels decide.
    assert cluster.names("Namespace") == {"/shop", "/bank"}
    cluster.delete("ConfigMap", "istio-system", "istio")
    cluster.batch()
    assert cluster.names("Service") == {"shop/s", "bank/s"}


def test_nothing_is_said_of_what_is_not_selected_until_it_is() -> None:
    cluster = Cluster()
    cluster.put(
        document("ConfigMap", "istio", "istio-system", data={"mesh": "discoverySelectors: [{matchLabels: {in: y}}]"}),
        namespace("shop"),
        route("a", httpp=[]),
    )
    assert cluster.batch().reports == ()
    cluster.put(namespace("shop", **{"in": "y"}))
    assert [report.problem.code for report in cluster.batch().reports] == ["DRG0101"]


def test_settings_that_cannot_be_read_leave_those_before_in_force() -> None:
    cluster = Cluster("mine")
    cluster.put(document("ConfigMap", "istio", "mine", data={"mesh": "trustDomain: a.b"}))
    cluster.batch()
    cluster.put(document("ConfigMap", "istio", "mine", data={"mesh": "trustDomain: {"}))
    (report,) = cluster.batch().reports
    assert report.kept_last_good
    held: Any = cluster.inventory.objects[SETTINGS]
    assert held.data == {"mesh": "trustDomain: a.b"}
    assert cluster.inventory.location(SETTINGS) == "ConfigMap mine/istio"


def test_the_settings_of_another_control_plane_are_not_ours() -> None:
    cluster = Cluster("mine")
    cluster.put(document("ConfigMap", "istio", "istio-system", data={"mesh": "trustDomain: a.b"}))
    assert not cluster.batch()


def test_secrets_are_those_that_gateways_name_where_their_pods_are() -> None:
    cluster = Cluster()
    cluster.put(secret("cert", "edge"), secret("cert", "other"), secret("private", "edge"))
    cluster.put(pod("gw-1", "edge", istio="ingress"), gateway("g", "cert", "conf"))
    cluster.batch()
    assert cluster.names("Secret") == {"edge/cert"}
    assert ObjectKey("Secret", "edge", "cert") in cluster.inventory.referred_to
    cluster.put(pod("gw-2", "other", istio="ingress", x="y"))
    cluster.batch()
    assert cluster.names("Secret") == {"edge/cert", "other/cert"}
    cluster.put(pod("gw-2", "other", istio="none"))
    cluster.delete("Pod", "edge", "gw-1")
    cluster.batch()
    assert cluster.names("Secret") == set()
    cluster.put(pod("gw-3", "other", istio="ingress"))
    cluster.put(gateway("g", "private-too", "conf"), secret("private-too", "other"))
    cluster.batch()
    assert cluster.names("Secret") == {"other/private-too"}


def test_a_gateway_that_picks_every_pod_means_its_own_namespace_and_where_others_are() -> None:
    cluster = Cluster()
    cluster.put(pod("gw-1", "edge", istio="ingress"), pod("app", "shop"), gateway("g", "a", "conf"))
    cluster.put(gateway("every", "b", "conf", selector={}))
    cluster.batch()
    named = {key.namespace for key in cluster.inventory.referred_to if key.name == "b"}
    assert named == {"conf", "edge"}


def test_an_ingress_names_its_certificate() -> None:
    cluster = Cluster()
    cluster.put(document("IngressClass", "mesh", spec={"controller": "istio.io/ingress-controller"}))
    cluster.put(pod("gw-1", "edge", istio="ingressgateway"), secret("cert", "edge"))
    spec = {"ingressClassName": "mesh", "tls": [{"hosts": ["a"], "secretName": "cert"}]}
    cluster.put(document("Ingress", "edge", "shop", spec=spec))
    cluster.batch()
    assert cluster.names("Secret") == {"edge/cert"}
    made = ObjectKey("Gateway", "istio-system", "edge-istio-autogenerated-k8s-ingress-shop")
    assert cluster.inventory.location(made) == "Ingress shop/edge"
    spec |= {"rules": [{"host": "a"}]}
    cluster.put(document("Ingress", "edge", "shop", spec=spec))
    (report,) = cluster.batch().reports
    assert cluster.inventory.reports_of(ObjectKey("Ingress", "shop", "edge")) == (report,)
    assert str(report).startswith("DRG0406 Ingress shop/edge: spec.rules[0].http: ")


def test_a_rules_credential_is_of_its_namespace() -> None:
    cluster = Cluster()
    tls = {"mode": "SIMPLE", "credentialName": "ca"}
    spec = {"host": "x.example", "trafficPolicy": {"tls": tls}, "workloadSelector": {"matchLabels": {"a": "b"}}}
    cluster.put(document("DestinationRule", "d", "shop", spec=spec), secret("ca-cacert", "shop"), secret("ca", "bank"))
    cluster.batch()
    assert cluster.names("Secret") == {"shop/ca-cacert"}
    cluster.delete("DestinationRule", "shop", "d")
    cluster.batch()
    assert cluster.names("Secret") == set()


def test_other_revisions_have_their_own_objects() -> None:
    cluster = Cluster(revision="blue")
    theirs = route("theirs")
    theirs["metadata"]["labels"] = {"istio.io/rev": "green"}
    # Only Istio's kinds have revisions: a Service may carry the label for its pods' sake.
    labelled = service("s", "shop")
    labelled["metadata"]["labels"] = {"istio.io/rev": "green"}
    cluster.put(theirs, route("a"), labelled)
    cluster.batch()
    assert cluster.names("VirtualService") == {"shop/a"}
    assert cluster.names("Service") == {"shop/s"}


def test_an_object_that_our_own_code_fails_on_is_that_objects_problem_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(obj: Any) -> tuple[Problem, ...]:
        if obj.name == "a":
            raise RecursionError
        return ()

    monkeypatch.setattr(judgement, "validate", fails)
    cluster = Cluster()
    cluster.put(route("a"), route("b"))
    batch = cluster.batch()
    assert [change.key.name for change in batch.changes] == ["b"]
    assert [(report.key and report.key.name, report.problem.code) for report in batch.reports] == [("a", "DRG0009")]
