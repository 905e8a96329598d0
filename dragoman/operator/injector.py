"""How this control plane injects, as the cluster says: the injector's ConfigMap, ProxyConfigs, the mesh's settings."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import replace
from typing import Any, Final

import structlog

from crds.codes import problem
from crds.decode import decode
from crds.meshconfig import MeshConfig
from crds.problem import Invalid
from crds.proxyconfig import ProxyConfig
from dragoman.engine import Failure, Graph
from dragoman.kube import ApiResource, Cluster
from dragoman.kube.resources import CONFIG_MAPS
from dragoman.mesh.settings import mesh_config
from dragoman.operator.watched import Watched
from dragoman.sidecar.injection import InjectionSettings
from dragoman.sidecar.injection.config_map import NAME, settings_of
from dragoman.sources.kubernetes.reflector import Name

log = structlog.get_logger(__name__)

_KIND: Final = ProxyConfig.resource
PROXY_CONFIGS: Final = ApiResource(_KIND.group, _KIND.storage, _KIND.plural, ProxyConfig.__name__)
DEFAULT_REVISION: Final = "default"
_LOOK_AGAIN: Final = 0.2
"""Seconds, while pods wait for the first settings."""


class Injector:
    """The settings in force. A ConfigMap that cannot be read leaves the last good ones; without one there are defaults.

    `graph` has the mesh's settings.
    """

    def __init__(self, cluster: Cluster, graph: Graph, namespace: str, revision: str) -> None:
        self._cluster = cluster
        self._mesh = graph.mount(mesh_config.call())
        self._revision = revision
        suffix = "" if revision == DEFAULT_REVISION else f"-{revision}"
        self._name = (namespace, f"{NAME}{suffix}")
        self._config_map = Watched(
            CONFIG_MAPS,
            self._changed,
            namespace=namespace,
            name=self._name[1],
            read=lambda each: each.get("data") or {},
        )
        self._proxy_configs = Watched(PROXY_CONFIGS, self._changed, read=_proxy_config)
        # Nobody needs to know it but who writes it into pods, where it stays: replicas may have different ones.
        self._drain_secret = secrets.token_bytes(32)
        self._made: tuple[MeshConfig, InjectionSettings] | None = None
        self._good: dict[str, str] = {}
        self._known = asyncio.Event()

    async def run(self) -> None:
        """Follow the cluster until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._config_map.run(self._cluster, self._known.set))
            tasks.create_task(self._proxy_configs.run(self._cluster))

    async def settings(self) -> InjectionSettings:
        """What is in force, as soon as the ConfigMap has been looked for. Raises Invalid where that may not be done:
        a pod that waited longer than the API server does would not be told why."""
        while not self._known.is_set():
            if (error := self._config_map.error) is not None:
                message = f"the injector's settings cannot be read: {error}"
                remedy = f"let the control plane read ConfigMap {'/'.join(self._name)}"
                raise Invalid((problem("DRG0702", "", message, remedy),))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN):
                    await self._known.wait()
        mesh = self._mesh_config()
        if self._made is None or self._made[0] is not mesh:
            self._made = mesh, self._make(mesh)
        return self._made[1]

    def _changed(self, name: Name) -> None:
        self._made = None

    def _make(self, mesh: MeshConfig) -> InjectionSettings:
        data: dict[str, str] = self._config_map.get(self._name) or {}
        resources = (self._proxy_configs.get(name) for name in self._proxy_configs)
        proxy_configs = tuple(each for each in resources if each is not None)
        try:
            made = settings_of(data, drain_secret=self._drain_secret, mesh=mesh, proxy_configs=proxy_configs)
        except ValueError as error:
            log.error(
                "injector's settings not readable, the last good ones stay", config_map=self._name[1], error=str(error)
            )
            made = settings_of(self._good, drain_secret=self._drain_secret, mesh=mesh, proxy_configs=proxy_configs)
        else:
            self._good = data
        return replace(made, revision=self._revision)

    def _mesh_config(self) -> MeshConfig:
        (value,) = self._mesh.leaves().values()
        found: Any = value.last_good if isinstance(value, Failure) else value
        return found if isinstance(found, MeshConfig) else MeshConfig()


def _proxy_config(document: dict[str, Any]) -> ProxyConfig | None:
    try:
        found = decode(document)
    except Invalid:
        return None  # the source of objects has reported it
    return found if isinstance(found, ProxyConfig) else None
