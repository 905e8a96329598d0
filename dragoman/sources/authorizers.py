"""Policies among files that ask an authorizer which the mesh settings among them do not define."""

from __future__ import annotations

from collections.abc import Iterator

from crds.authorizationpolicy import AuthorizationPolicy
from crds.kubernetes.configmap import ConfigMap
from crds.meshconfig import CONFIG_KEY, CONFIG_MAP, parse
from crds.meta import ObjectKey
from crds.problem import Invalid
from crds.validate.extensionproviders import obstacles, unaskable
from dragoman.sources.change import Report
from dragoman.sources.registry import Registry


def reports_of_authorizers(registry: Registry) -> Iterator[Report]:
    """Warnings at the policies.

    Settings that are not among the files may be elsewhere, as the services of authorizers may: nothing is said then.
    """
    settings = registry.objects.get(ObjectKey("ConfigMap", *CONFIG_MAP))
    if not isinstance(settings, ConfigMap) or CONFIG_KEY not in settings.data:
        return
    try:
        known = obstacles(parse(settings.data[CONFIG_KEY]).extension_providers)
    except Invalid:
        return
    for key, obj in registry.objects.items():
        found = unaskable(obj, known) if isinstance(obj, AuthorizationPolicy) else None
        if found is not None:
            yield Report(*registry.place(key), key, found)
