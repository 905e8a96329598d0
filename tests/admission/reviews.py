"""AdmissionReviews as an API server sends them."""

import base64
import json
from typing import Any

PLURALS = {"VirtualService": "virtualservices", "Gateway": "gateways", "Sidecar": "sidecars", "Pod": "pods"}


def review(
    obj: dict[str, Any],
    *,
    old: dict[str, Any] | None = None,
    operation: str = "",
    sub_resource: str = "",
    dry_run: bool = False,
) -> bytes:
    """The question about storing an object."""
    group, _, version = obj["apiVersion"].rpartition("/")
    kind = obj["kind"]
    resource = {"group": group, "version": version, "resource": PLURALS.get(kind, kind.lower() + "s")}
    request = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": group, "version": version, "kind": kind},
        "resource": resource,
        "requestKind": {"group": group, "version": version, "kind": kind},
        "requestResource": resource,
        "name": obj["metadata"].get("name", ""),
        "namespace": obj["metadata"].get("namespace", ""),
        "operation": operation or ("UPDATE" if old else "CREATE"),
        "userInfo": {"username": "admin", "groups": ["system:authenticated"]},
        "object": None if operation == "DELETE" else obj,
        "oldObject": obj if operation == "DELETE" else old,
        "dryRun": dry_run,
        "options": None,
    }
    if sub_resource:
        request["subResource"] = sub_resource
    return json.dumps({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}).encode()


def response(body: bytes) -> dict[str, Any]:
    """What is answered, its patch decoded."""
    said = json.loads(body)
    assert (said["kind"], said["apiVersion"]) == ("AdmissionReview", "admission.k8s.io/v1")
    answer: dict[str, Any] = said["response"]
    assert answer["uid"] == "705ab4f5-6393-11e8-b7cc-42010a800002"
    if "patch" in answer:
        answer["patch"] = json.loads(base64.b64decode(answer["patch"]))
    return answer


def virtual_service(name: str = "web", **spec: Any) -> dict[str, Any]:
    """A VirtualService, a good one unless `spec` says otherwise."""
    good = {"hosts": ["web.shop.svc.cluster.local"], "http": [{"route": [{"destination": {"host": "web"}}]}]}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "shop", "uid": "x", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": good | spec,
    }


def pod(name: str = "web-1", **metadata: Any) -> dict[str, Any]:
    """A Pod as a client sends it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", **metadata},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    }


BAD_ROUTE = [{"match": [{"uri": {"regex": "("}}], "route": [{"destination": {"host": "web"}, "weight": -1}]}]
"""A regular expression that is none, and a weight below zero."""
