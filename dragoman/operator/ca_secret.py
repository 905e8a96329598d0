"""The CA in Secrets: its state, which replicas share, and a CA that the operator gives.

The state stands in `istio-ca-secret`, beside the keys that Istio has there (Istio: security/pkg/pki/ca), so that the
root of an Istio that ran before is taken over and one that comes after takes over ours. A CA of the operator's own is
`cacerts` (Istio: "Plug in CA Certificates").
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn

import msgspec

from ca import rotation_document
from ca.authority import Authority
from ca.authority_files import ISTIO, RootStoreError, files_of, parse
from ca.plugged_in import Given
from ca.store import ConflictError, StoreError
from dragoman.kube import ApiError, Cluster
from dragoman.kube.resources import SECRETS
from dragoman.sources.kubernetes.following import follow
from dragoman.sources.kubernetes.reflector import Delta, Reflector

CA_SECRET: Final = "istio-ca-secret"  # noqa: S105 - a name
PLUGGED_IN_SECRET: Final = "cacerts"  # noqa: S105
DOCUMENT: Final = "authority.json"
"""The key of the state beside Istio's."""
_TYPE: Final = "istio.io/ca-root"


class SecretStore:
    """The state of the CA, locked by the Secret's `resourceVersion` (`ca.store.Store`)."""

    def __init__(self, cluster: Cluster, namespace: str, name: str = CA_SECRET) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._secret: Mapping[str, Any] = {}
        """As it was last read: keys in it that are not ours stay."""

    @property
    def place(self) -> str:
        return f"Secret {self._namespace}/{self._name}"

    async def read(self) -> tuple[bytes | None, str]:
        """The state, None where there is none yet, and the version of the Secret. Raises `StoreError`."""
        try:
            self._secret = await self._cluster.get(SECRETS, self._name, self._namespace)
        except ApiError as error:
            if error.not_found:
                self._secret = {}
                return None, ""
            raise StoreError(f"cannot read {self.place}: {error}") from error
        return self._files().get(DOCUMENT), self._secret["metadata"]["resourceVersion"]

    def kept_before(self) -> Authority | None:
        """The authority that Istio has left in the Secret, as it was last read. Raises `RootStoreError`."""
        files = self._files()
        return parse(files, self.place) if ISTIO.key in files else None

    async def replace(self, document: bytes, version: str) -> str:
        """Write if the version is still this one; return the new one. Raises `ConflictError`, `StoreError`."""
        files = files_of(rotation_document.load(document).active) | {DOCUMENT: document}
        data = {name: base64.b64encode(content).decode() for name, content in files.items()}
        metadata: dict[str, Any] = {"name": self._name, "namespace": self._namespace}
        try:
            if not version:
                written = await self._cluster.create(
                    SECRETS,
                    {"apiVersion": "v1", "kind": "Secret", "type": _TYPE, "metadata": metadata, "data": data},
                    self._namespace,
                )
            else:
                kept = dict(self._secret)
                kept["metadata"] = {**kept.get("metadata", metadata), "resourceVersion": version}
                kept["data"] = {**(kept.get("data") or {}), **data}
                written = await self._cluster.replace(SECRETS, kept)
        except ApiError as error:
            if error.conflict or error.already_exists:
                raise ConflictError(f"{self.place} was written by another replica") from error
            raise StoreError(f"cannot write {self.place}: {error}") from error
        self._secret = written
        return str(written["metadata"]["resourceVersion"])

    def _files(self) -> dict[str, bytes]:
        return {name: base64.b64decode(value) for name, value in (self._secret.get("data") or {}).items()}


class _Secret(msgspec.Struct):
    data: dict[str, bytes] | None = None


class PluggedInSecret:
    """A CA that the operator gives, in a Secret that may change while the control plane runs."""

    def __init__(self, cluster: Cluster, namespace: str, name: str = PLUGGED_IN_SECRET) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._files: Mapping[str, bytes] | None = None
        self._seen: Mapping[str, bytes] | None = None

    @property
    def place(self) -> str:
        return f"Secret {self._namespace}/{self._name}"

    async def read(self) -> Given | None:
        """What the operator has given; None where there is no such Secret. Raises `RootStoreError`."""
        try:
            body = await self._cluster.request("GET", SECRETS.path(self._namespace, self._name))
        except ApiError as error:
            if error.not_found:
                return None
            raise RootStoreError(f"cannot read {self.place}: {error}") from error
        self._files = self._seen = msgspec.json.decode(body, type=_Secret).data or {}
        return Given.of(self._seen, self.place)

    def changed(self) -> Given | None:
        """What the operator gives now, if that is something else than was seen last; None if not.

        Raises `RootStoreError` once for what is no CA, or for none at all: what was read before stays good.
        """
        files = self._files
        if files == self._seen:
            return None
        self._seen = files
        if files is None:
            raise RootStoreError(f"{self.place} is gone")
        return Given.of(files, self.place)

    async def run(self) -> NoReturn:
        """Follow the Secret until cancelled."""

        def deliver(deltas: Iterable[Delta]) -> None:
            for delta in deltas:
                self._files = None if delta.data is None else msgspec.json.decode(delta.data, type=_Secret).data or {}

        reflector = Reflector(selector=f"metadata.name={self._name}")
        await follow(self._cluster, SECRETS.path(self._namespace), reflector, deliver)
