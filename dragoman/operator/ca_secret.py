"""The CA in Secrets: its state, which replicas share, and a CA that the operator gives.

The state stands in `istio-ca-secret`, beside the keys that Istio has there (Istio: security/pkg/pki/ca), so that the
root of an Istio that ran before is taken over, one that comes after takes over ours, and of two that run side by side
each follows the other. A CA of the operator's own is `cacerts` (Istio: "Plug in CA Certificates").
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn

import msgspec
from cryptography import x509

from ca import rotation_document
from ca.authority import Authority, AuthorityError, issued
from ca.authority_files import ISTIO, RootStoreError, files_of, parse
from ca.plugged_in import Given
from ca.rotation import Rotation
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
_GENERATED: Final = "istio-generated"
"""The key by which Istio marks a `cacerts` of its own making (Istio: USE_CACERTS_FOR_SELF_SIGNED_CA)."""


class SecretStore:
    """The state of the CA, locked by the Secret's `resourceVersion` (`ca.store.Store`)."""

    def __init__(self, cluster: Cluster, namespace: str, name: str = CA_SECRET) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._secret: Mapping[str, Any] = {}
        """As it was last read: keys in it that are not ours stay."""
        self._judged: tuple[bytes | None, bytes | None] = None, None
        """Istio's certificate and key, as `changed` last had nothing to tell of them."""

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
        return self._istios(self._files())

    def changed(self) -> Given | None:
        """The root that an Istio has put in place of the one that was there, as of when the Secret was last read, until
        it stands in the state; None if nobody has. Raises `AuthorityError` once for what is no CA: our next write
        replaces it.
        """
        files = self._files()
        pair = files.get(ISTIO.certificate), files.get(ISTIO.key)
        if pair == self._judged or DOCUMENT not in files:
            return None
        try:
            state = rotation_document.load(files[DOCUMENT])
            theirs = self._istios(files)
        except AuthorityError:
            self._judged = pair
            raise
        if theirs is None or theirs.certificate == state.active.certificate:
            self._judged = pair
            return None
        # Looked at again until it signs: another rotation may be begun in its place.
        known = state.next is not None and theirs.certificate == state.next.certificate
        return None if known else Given(theirs)

    async def replace(self, document: bytes, version: str) -> str:
        """Write if the version is still this one; return the new one. Raises `ConflictError`, `StoreError`."""
        state = rotation_document.load(document)
        files = {DOCUMENT: document} if self._is_istios(state) else files_of(state.active) | {DOCUMENT: document}
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

    def _is_istios(self, following: Rotation) -> bool:
        """Whether Istio's keys are to stay: it has put a root there that does not sign here yet, and signs with it."""
        files = self._files()
        if following.plugged_in or DOCUMENT not in files:
            return False
        try:
            theirs = self._istios(files)
        except RootStoreError:
            return False
        ours = (rotation_document.load(files[DOCUMENT]).active.certificate, following.active.certificate)
        return theirs is not None and theirs.certificate not in ours

    def _istios(self, files: Mapping[str, bytes]) -> Authority | None:
        return _authority(files, self.place) if ISTIO.key in files else None

    def _files(self) -> dict[str, bytes]:
        # Istio leaves keys empty.
        return {name: base64.b64decode(value) for name, value in (self._secret.get("data") or {}).items() if value}


def _authority(files: Mapping[str, bytes], place: str) -> Authority:
    """The authority in a Secret that Istio writes. Raises `RootStoreError`.

    Istio rotates a root of its own in certificate and key alone, the other files are of the day on which it made the
    Secret (Istio: security/pkg/pki/ca/selfsignedcarootcertrotator.go).
    """
    own = {name: files[name] for name in (ISTIO.certificate, ISTIO.key) if name in files}
    try:
        certificate = x509.load_pem_x509_certificate(own.get(ISTIO.certificate, b""))
    except (ValueError, x509.InvalidVersion):
        return parse(files, place)  # which says what is wrong
    return parse({**own, ISTIO.root: own[ISTIO.certificate]} if issued(certificate, certificate) else files, place)


class _Secret(msgspec.Struct):
    data: dict[str, bytes | None] | None = None

    @property
    def files(self) -> dict[str, bytes]:
        """What is not empty, and how it is marked."""
        return {name: value or b"" for name, value in (self.data or {}).items() if value or name == _GENERATED}


def _given(files: Mapping[str, bytes], place: str) -> Given:
    return Given(_authority(files, place)) if _GENERATED in files else Given.of(files, place)


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
        self._files = self._seen = msgspec.json.decode(body, type=_Secret).files
        return _given(self._seen, self.place)

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
        return _given(files, self.place)

    async def run(self) -> NoReturn:
        """Follow the Secret until cancelled."""

        def deliver(deltas: Iterable[Delta]) -> None:
            for delta in deltas:
                self._files = None if delta.data is None else msgspec.json.decode(delta.data, type=_Secret).files

        reflector = Reflector(selector=f"metadata.name={self._name}")
        await follow(self._cluster, SECRETS.path(self._namespace), reflector, deliver)
