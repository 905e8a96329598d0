"""A pod's volumes as folders of this machine."""

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dragoman.kube.cluster import Cluster
from dragoman.kube.resources import SERVICE_ACCOUNTS
from e2e.harness.kubelet.configuration_objects import ConfigurationObjects
from e2e.harness.kubelet.pod_facts import PodFacts
from e2e.harness.kubelet.watching import Object

Payload = Mapping[str, bytes]
"""The files of a volume, by their path in it."""

TOKEN_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Volumes:
    """The volumes of a pod, each a folder of its name in `folder`."""

    folder: Path
    facts: PodFacts
    objects: ConfigurationObjects
    cluster: Cluster

    async def fill(self) -> None:
        """Make them, or bring them up to date with the objects that they show.

        Raises LookupError for what is not there, which keeps the pod from being started.
        """
        for volume in self.facts.pod["spec"].get("volumes", ()):
            folder = self.folder / volume["name"]
            if "emptyDir" in volume:
                self._make_empty(folder)
            elif "hostPath" in volume:
                folder.mkdir(parents=True, exist_ok=True)
            else:
                payload = await self._payload(volume, folder)
                _swap(folder, payload, self._group)

    def host_path(self, name: str) -> str | None:
        """The path of this machine that a volume shows as it is."""
        volume = next(each for each in self.facts.pod["spec"]["volumes"] if each["name"] == name)
        path: str | None = volume.get("hostPath", {}).get("path")
        return path

    @property
    def _group(self) -> int | None:
        group: int | None = self.facts.pod["spec"].get("securityContext", {}).get("fsGroup")
        return group

    def _make_empty(self, folder: Path) -> None:
        if not folder.exists():
            folder.mkdir(parents=True)
            folder.chmod(0o2777)
            if self._group is not None:
                os.chown(folder, -1, self._group)

    async def _payload(self, volume: Object, folder: Path) -> Payload:
        sources = volume["projected"]["sources"] if "projected" in volume else [_as_source(volume)]
        payload: dict[str, bytes] = {}
        for source in sources:
            payload |= await self._of_source(source, folder)
        return payload

    async def _of_source(self, source: Object, folder: Path) -> Payload:
        ((kind, wanted),) = source.items()
        namespace = self.facts.field("metadata.namespace")
        optional = wanted.get("optional", False)
        if kind == "configMap":
            return _items(self.objects.config_map(namespace, wanted["name"], optional=optional), wanted)
        if kind == "secret":
            return _items(self.objects.secret(namespace, wanted["name"], optional=optional), wanted)
        if kind == "downwardAPI":
            return {item["path"]: self._fact(item).encode() for item in wanted.get("items", ())}
        if kind == "serviceAccountToken":
            held = folder / wanted["path"]
            return {wanted["path"]: held.read_bytes() if held.exists() else await self._token(wanted)}
        raise LookupError(f"no such volume here: {kind}")

    def _fact(self, item: Object) -> str:
        if "fieldRef" in item:
            return self.facts.field(item["fieldRef"]["fieldPath"])
        return self.facts.resource(item["resourceFieldRef"])

    async def _token(self, wanted: Object) -> bytes:
        """A token that is bound to the pod: it is void as soon as the pod is deleted."""
        metadata = self.facts.pod["metadata"]
        bound = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
        spec = {
            "audiences": [wanted["audience"]] if wanted.get("audience") else [],
            "expirationSeconds": wanted.get("expirationSeconds", TOKEN_SECONDS),
            "boundObjectRef": bound,
        }
        account = self.facts.field("spec.serviceAccountName")
        answer = await self.cluster.request(
            "POST",
            SERVICE_ACCOUNTS.path(metadata["namespace"], account, "token"),
            body={"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
        )
        token: str = json.loads(answer)["status"]["token"]
        return token.encode()


def _as_source(volume: Object) -> Object:
    """A volume of one source as a part of a projected one, which says the names otherwise."""
    ((kind, wanted),) = ((key, value) for key, value in volume.items() if key != "name")
    if kind == "secret":
        wanted = {**wanted, "name": wanted["secretName"]}
    return {kind: wanted}


def _items(data: Payload, wanted: Object) -> Payload:
    if "items" not in wanted:
        return data
    optional = wanted.get("optional", False)
    return {item["path"]: data[item["key"]] for item in wanted["items"] if not optional or item["key"] in data}


def _swap(folder: Path, payload: Payload, group: int | None) -> None:
    """Replace the files of a volume all at once, as who watches them expects (Kubernetes: AtomicWriter).

    Each is a symbolic link through `..data`, another one, which is what changes.
    """
    data = folder / "..data"
    if data.exists() and {str(path): (data / path).read_bytes() for path in _files(data)} == dict(payload):
        return
    version = folder / f"..{secrets.token_hex(8)}"
    version.mkdir(parents=True)
    for path, content in payload.items():
        target = version / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(0o644 if group is None else 0o640)
        if group is not None:
            os.chown(target, -1, group)
    former = data.resolve() if data.exists() else None
    fresh = folder / "..data_tmp"
    fresh.symlink_to(version.name)
    fresh.rename(data)
    wanted = {path.split("/")[0] for path in payload}
    for name in wanted:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    for link in folder.iterdir():
        if link.is_symlink() and link.name != "..data" and link.name not in wanted:
            link.unlink()
    if former is not None:
        shutil.rmtree(former)


def _files(folder: Path) -> list[Path]:
    return [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
