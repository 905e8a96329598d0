"""What workloads trust, in every namespace: ConfigMap `istio-ca-root-cert` (Istio: pilot/pkg/serviceregistry/kube/
controller, namespacecontroller.go), and `istio-ca-crl` where the CA has revocation lists.

New namespaces get theirs at once; what somebody edits or deletes is put back; another trust bundle goes everywhere.
This is for one replica at a time: amid a rotation, two that have not heard of the same step yet would undo each
other's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import structlog

from crds.meshconfig import CONFIG_KEY, CONFIG_MAP, MeshConfig, parse
from crds.problem import Invalid
from dragoman.kube import ApiError, Cluster
from dragoman.kube.resources import CONFIG_MAPS, NAMESPACES
from dragoman.operator.watched import Watched
from dragoman.operator.work_queue import WorkQueue
from dragoman.runtime.identities import Identities
from dragoman.sources.kubernetes.reflector import Name

log = structlog.get_logger(__name__)

ROOTS: Final = ("istio-ca-root-cert", "root-cert.pem")
"""Name of the ConfigMap, which pods mount, and its key (Istio: pkg/config/constants)."""
REVOCATIONS: Final = ("istio-ca-crl", "ca-crl.pem")

LABEL: Final = ("istio.io/config", "true")
FIELD_MANAGER: Final = "dragoman-root-certificates"

IGNORED_NAMESPACES: Final = frozenset(("kube-system", "kube-public", "kube-node-lease", "local-path-storage"))
"""They run no workloads of the mesh (Istio: pkg/kube/inject, IgnoredNamespaces)."""

_WRITES_AT_ONCE: Final = 8


class _Namespace(NamedTuple):
    labels: dict[str, str]
    ending: bool


class _Held(NamedTuple):
    """A ConfigMap as far as it matters."""

    text: str | None
    labelled: bool


class RootCertificates:
    """Keeps the ConfigMaps as `identities` say. `settings` names the ConfigMap of the mesh's settings, whose
    `discoverySelectors` say which namespaces are the mesh's (Istio: MeshConfig)."""

    def __init__(self, cluster: Cluster, identities: Identities, settings: tuple[str, str] = CONFIG_MAP) -> None:
        self._cluster = cluster
        self._identities = identities
        self._mesh = MeshConfig()
        self._queue: WorkQueue[Name] = WorkQueue(self._put_right, workers=_WRITES_AT_ONCE)
        self._namespaces = Watched(NAMESPACES, self._changed_namespace, read=_namespace)
        self._held = {name: _watched(name, key, self._changed_config_map) for name, key in (ROOTS, REVOCATIONS)}
        self._written = Watched(
            CONFIG_MAPS, self._changed_settings, namespace=settings[0], name=settings[1], read=_data
        )

    async def run(self) -> None:
        """Do it until cancelled."""
        self._identities.on_roots_changed.append(self._all)
        try:
            async with asyncio.TaskGroup() as tasks:
                for watched in (self._written, self._namespaces, *self._held.values()):
                    tasks.create_task(watched.run(self._cluster, self._all))
                tasks.create_task(self._queue.run())
        finally:
            self._identities.on_roots_changed.remove(self._all)

    @property
    def _listed(self) -> bool:
        return all(watched.listed for watched in (self._written, self._namespaces, *self._held.values()))

    def _all(self) -> None:
        if self._listed:
            for _, namespace in self._namespaces:
                for name in self._held:
                    self._queue.add((namespace, name))

    def _changed_namespace(self, name: Name) -> None:
        if self._listed:
            for config_map in self._held:
                self._queue.add((name[1], config_map))

    def _changed_config_map(self, name: Name) -> None:
        if self._listed:
            self._queue.add(name)

    def _changed_settings(self, name: Name) -> None:
        text = (self._written.get(name) or {}).get(CONFIG_KEY, "")
        try:
            self._mesh = parse(text)
        except Invalid:
            return  # the source of objects has reported it; what was good last is in force
        self._all()

    def _reached(self, namespace: str) -> bool:
        """Whether a namespace gets them: it is there, stays, and belongs to the mesh."""
        found: _Namespace | None = self._namespaces.get(("", namespace))
        if found is None or found.ending or namespace in IGNORED_NAMESPACES:
            return False
        selectors = self._mesh.discovery_selectors
        return not selectors or any(selector.matches(found.labels) for selector in selectors)

    async def _put_right(self, name: Name) -> None:
        namespace, config_map = name
        if not self._reached(namespace):
            return
        held: _Held | None = self._held[config_map].get(name)
        key, text = self._wanted(config_map)
        if held == _Held(text, labelled=True):
            return
        try:
            if text is not None:
                await self._cluster.apply(CONFIG_MAPS, _document(name, key, text), field_manager=FIELD_MANAGER)
                log.info("root certificates written", namespace=namespace, config_map=config_map)
            elif held is not None and held.labelled:
                await self._cluster.delete(CONFIG_MAPS, config_map, namespace)
        except ApiError as error:
            # The namespace went meanwhile, or takes in nothing any more.
            if not (error.not_found or _ending(error)):
                raise

    def _wanted(self, config_map: str) -> tuple[str, str | None]:
        """The key in a ConfigMap, and what stands there; None if there should be no such ConfigMap."""
        if config_map == ROOTS[0]:
            return ROOTS[1], self._identities.roots_pem.decode()
        return REVOCATIONS[1], self._identities.crl_pem.decode() or None


def _watched(name: str, key: str, on_change: Callable[[Name], None]) -> Watched:
    def read(document: dict[str, Any]) -> _Held:
        labels = document["metadata"].get("labels") or {}
        return _Held(_data(document).get(key), labels.get(LABEL[0]) == LABEL[1])

    return Watched(CONFIG_MAPS, on_change, name=name, read=read)


def _data(document: dict[str, Any]) -> dict[str, str]:
    return document.get("data") or {}


def _namespace(document: dict[str, Any]) -> _Namespace:
    metadata = document["metadata"]
    return _Namespace(metadata.get("labels") or {}, bool(metadata.get("deletionTimestamp")))


def _document(name: Name, key: str, text: str) -> dict[str, Any]:
    namespace, config_map = name
    return {
        "apiVersion": CONFIG_MAPS.api_version,
        "kind": CONFIG_MAPS.kind,
        "metadata": {"name": config_map, "namespace": namespace, "labels": dict([LABEL])},
        "data": {key: text},
    }


def _ending(error: ApiError) -> bool:
    """Whether a namespace is being deleted (Kubernetes: NamespaceLifecycle admission)."""
    causes = error.details.get("causes") or ()
    return error.forbidden and any(cause.get("reason") == "NamespaceTerminating" for cause in causes)
