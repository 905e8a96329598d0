"""The names under which the mesh's workloads are known."""

from __future__ import annotations

from crds.meshconfig import MeshConfig
from dragoman.engine import Graph
from dragoman.mesh.settings import mesh_config


class TrustDomains:
    """MeshConfig's `trustDomain` and `trustDomainAliases`, as they are now."""

    def __init__(self, graph: Graph) -> None:
        self._settings = graph.mount(mesh_config.call())

    def own(self) -> str:
        """The trust domain that new certificates are of."""
        return self._now().trust_domain

    def all(self) -> frozenset[str]:
        """Those whose certificates are this mesh's: its own, and those that it had or merged with."""
        settings = self._now()
        return frozenset((settings.trust_domain, *settings.trust_domain_aliases))

    def _now(self) -> MeshConfig:
        found = self._settings.value()
        return found if isinstance(found, MeshConfig) else MeshConfig()
