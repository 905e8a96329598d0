"""What every Kubernetes object carries: metadata, its key, its age, and the resource its kind is served as."""

import datetime
import sys
from typing import Any, ClassVar, NamedTuple

import msgspec

_NOTHING: dict[str, str] = {}
"""One for all objects without labels or annotations; nobody writes to what was decoded."""


def share(struct: msgspec.Struct, *fields: str) -> None:
    """Hold texts that thousands of objects have in common once: each document brings its own copy of them."""
    for field in fields:
        msgspec.structs.force_setattr(struct, field, sys.intern(getattr(struct, field)))


class OwnerReference(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who made this object (a ReplicaSet for a Pod): names the workload in telemetry and node ids."""

    kind: str
    name: str
    api_version: str = ""
    uid: str = ""
    controller: bool = False


class ObjectMeta(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The part of Kubernetes metadata that a control plane reads; the rest (managedFields, …) is skipped."""

    name: str
    namespace: str = ""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    creation_timestamp: datetime.datetime | None = None
    deletion_timestamp: datetime.datetime | None = None
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    owner_references: tuple[OwnerReference, ...] = ()

    def __post_init__(self) -> None:
        share(self, "namespace")
        for field in ("labels", "annotations"):
            written: dict[str, str] = getattr(self, field)
            held = {sys.intern(key): value for key, value in written.items()} if written else _NOTHING
            msgspec.structs.force_setattr(self, field, held)


class ObjectKey(NamedTuple):
    """Names one object in a mesh. Kinds we read are unique without their group."""

    kind: str
    namespace: str  # "" for cluster-scoped kinds
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class Resource(msgspec.Struct, frozen=True):
    """How the Kubernetes API serves a kind."""

    group: str  # "" is the core group
    plural: str
    versions: tuple[str, ...]  # served, newest first
    storage: str
    short_names: tuple[str, ...] = ()
    namespaced: bool = True

    def api_version(self, version: str | None = None) -> str:
        """The `apiVersion` of a document, of the storage version unless another is named."""
        version = version or self.storage
        return f"{self.group}/{version}" if self.group else version


class Object(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A Kubernetes object of a kind we know."""

    resource: ClassVar[Resource]
    metadata: ObjectMeta

    @property
    def kind(self) -> str:
        return type(self).__name__

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace

    @property
    def key(self) -> ObjectKey:
        return ObjectKey(type(self).__name__, self.metadata.namespace, self.metadata.name)


class IstioObject(Object, frozen=True, kw_only=True):
    """An object of Istio's API. Its `status` is written by controllers and no part of what the operator wants."""

    spec: Any


class KubernetesObject(Object, frozen=True, kw_only=True):
    """An object of Kubernetes' own API, reduced to the fields a mesh control plane reads."""


_BEGINNING = datetime.datetime.min.replace(tzinfo=datetime.UTC)


def age_order(obj: Object) -> tuple[datetime.datetime, str, str]:
    """The sort key by which Istio breaks ties between objects: the oldest wins, then name, then namespace.

    An object without a timestamp counts as oldest, as Go's zero time does (Istio: pilot/pkg/model/config.go
    sortByCreationComparator); documents in files have none, so files are ordered by name and namespace.
    """
    meta = obj.metadata
    created = meta.creation_timestamp
    if created is not None and created.tzinfo is None:
        created = created.replace(tzinfo=datetime.UTC)
    return created or _BEGINNING, meta.name, meta.namespace
