"""Policies among files for which nobody is asked: the mesh settings among them do not define the authorizer, or other
policies ask another one."""

from __future__ import annotations

from collections.abc import Iterator

from crds.authorizationpolicy import AuthorizationPolicy
from crds.kubernetes.configmap import ConfigMap
from crds.meshconfig import CONFIG_KEY, CONFIG_MAP, MeshConfig, parse
from crds.meta import ObjectKey
from crds.problem import Invalid
from crds.validate.extensionproviders import obstacles, unaskable
from dragoman.mesh.authorizers import asks, disagreement
from dragoman.sources.change import Report
from dragoman.sources.registry import Registry


def reports_of_authorizers(registry: Registry) -> Iterator[Report]:
    """Warnings at the policies.

    Settings that are not among the files may be elsewhere, as the services of authorizers may: nothing is said of whom
    they define then.
    """
    asking = [obj for obj in registry.objects.values() if isinstance(obj, AuthorizationPolicy) and asks(obj)]
    settings = _settings(registry) if asking else None
    known = obstacles(settings.extension_providers) if settings is not None else None
    root = (settings or MeshConfig()).root_namespace
    for policy in asking:
        found = unaskable(policy, known) if known is not None else None
        found = found or disagreement(policy, asking, root)
        if found is not None:
            yield Report(*registry.place(policy.key), policy.key, found)


def _settings(registry: Registry) -> MeshConfig | None:
    """What is among the files, if it can be read."""
    found = registry.objects.get(ObjectKey("ConfigMap", *CONFIG_MAP))
    if not isinstance(found, ConfigMap) or CONFIG_KEY not in found.data:
        return None
    try:
        return parse(found.data[CONFIG_KEY])
    except Invalid:
        return None
