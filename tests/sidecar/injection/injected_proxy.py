"""The sidecar of an injected pod as a kubelet would run it: variables, files of volumes, command line."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ca import new_root
from ca.authority import pem
from dragoman.sidecar import find_envoy
from dragoman.sidecar.injection import Injected, InjectionSettings, NamespaceFacts, inject

SETTINGS = InjectionSettings(drain_secret=b"of the tests")
SHOP = NamespaceFacts("shop", {"istio-injection": "enabled"})
_PLACES = {
    "istio-podinfo": "podinfo",
    "istio-token": "tokens",
    "istiod-ca-cert": "roots",
    "custom-bootstrap-volume": "custom",
}


def pod_of(*containers: Mapping[str, Any], annotations: Mapping[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """A pod of the ReplicaSet web-5d8f9 as the API server shows it to webhooks."""
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d8f9", "controller": True, "uid": "1"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "web-5d8f9-",
            "labels": {"app": "web", "version": "v1", "pod-template-hash": "5d8f9"},
            "annotations": dict(annotations or {}),
            "ownerReferences": [owner],
        },
        "spec": {"containers": list(containers) or [{"name": "web", "image": "web:1"}], **spec},
    }


def injected(pod: Mapping[str, Any], settings: InjectionSettings = SETTINGS) -> Injected:
    """The pod with its sidecar in a namespace that asks for it."""
    result = inject(pod, namespace=SHOP, settings=settings)
    assert isinstance(result, Injected), result
    return result


def container(pod: Mapping[str, Any], name: str = "istio-proxy") -> dict[str, Any]:
    """A container or init container of a pod."""
    spec = pod["spec"]
    (found,) = [each for each in (*spec["containers"], *spec.get("initContainers", ())) if each["name"] == name]
    return dict(found)


def bootstrap(pod: Mapping[str, Any]) -> dict[str, Any]:
    """The sidecar's bootstrap, variables as they are written."""
    arguments = container(pod)["args"]
    return dict(json.loads(arguments[arguments.index("--config-yaml") + 1]))


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """An argument as the kubelet passes it on (Kubernetes: third_party/forked/golang/expansion)."""

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return variables.get(found[1], found[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", value, text)


def command(pod: Mapping[str, Any], *, address: str, loopback: str, directory: Path) -> list[str]:
    """The command line of the sidecar, with its volumes' files below `directory`.

    `loopback` stands for 127.0.0.1, as all tests share one.
    """
    proxy = container(pod)
    known = {
        "POD_NAME": "web-5d8f9-abcde",
        "POD_NAMESPACE": "shop",
        "INSTANCE_IP": address,
        "INSTANCE_IPS": address,
        "SERVICE_ACCOUNT": "web",
        "HOST_IP": "192.0.2.1",
        "ISTIO_META_NODE_NAME": "node-1",
    }
    assert {variable["name"] for variable in proxy["env"] if "valueFrom" in variable} == set(known)
    places = {
        mount["mountPath"]: directory / _PLACES[mount["name"]]
        for mount in proxy["volumeMounts"]
        if mount["name"] in _PLACES
    }

    def here(text: str) -> str:
        for place, folder in places.items():
            text = text.replace(place, str(folder))
        return text.replace('"127.0.0.1"', f'"{loopback}"')

    (volume,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "istio-podinfo"]
    for item in volume["downwardAPI"]["items"]:
        if found := re.fullmatch(r"metadata.annotations\['(.+)'\]", item["fieldRef"]["fieldPath"]):
            file = directory / "podinfo" / item["path"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(here(pod["metadata"]["annotations"][found[1]]))
    (binary,) = proxy["command"]
    assert binary == "/usr/local/bin/envoy"
    return [str(find_envoy()), *(here(expanded(argument, known)) for argument in proxy["args"])]


def credentials(directory: Path, name: str) -> grpc.ServerCredentials:
    """The files of a pod's token and roots, and a control plane `name` that they fit."""
    now = datetime.now(UTC)
    root = new_root("cluster.local", now=now)
    key = ec.generate_private_key(ec.SECP256R1())
    for folder, file, content in (
        ("tokens", "istio-token", b"token-of-web"),
        ("roots", "root-cert.pem", root.roots_pem),
    ):
        (directory / folder).mkdir(parents=True)
        (directory / folder / file).write_bytes(content)
    chain = pem([root.sign(key.public_key(), dns_names=[name], now=now)])
    return grpc.ssl_server_credentials([(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), chain)])
