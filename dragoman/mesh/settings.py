"""The mesh's own settings: the ConfigMap `istio` of the control plane's namespace, key `mesh` (Istio: MeshConfig)."""

from __future__ import annotations

from crds.meshconfig import CONFIG_KEY, MeshConfig, parse
from dragoman.engine import ABSENT, Failure, Graph, attempt, query
from dragoman.mesh.inputs import MESH_CONFIG_MAP


@query
def _written(g: Graph) -> MeshConfig:
    config_map = MESH_CONFIG_MAP(g, None)
    return MeshConfig() if config_map is None else parse(config_map.data[CONFIG_KEY])


@query
def mesh_config(g: Graph) -> MeshConfig:
    """The settings in force: a ConfigMap that cannot be read leaves the last good settings, at first the defaults."""
    written = attempt(g, _written)
    if isinstance(written, Failure):
        return MeshConfig() if written.last_good is ABSENT else written.last_good
    return written


@query
def root_namespace(g: Graph) -> str:
    """The namespace whose policies hold for the whole mesh."""
    return mesh_config(g).root_namespace


@query
def trusts_others(g: Graph) -> bool:
    """Whether workloads believe certificates of trust domains that are not the mesh's."""
    settings = mesh_config(g)
    own = {settings.trust_domain, *settings.trust_domain_aliases}
    return any(not own.issuperset(data.trust_domains) for data in settings.ca_certificates)
