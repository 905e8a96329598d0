"""The ConfigMap that holds the mesh's settings: a document within a document, checked like one."""

from collections.abc import Iterable

import msgspec

from crds.kubernetes.configmap import ConfigMap
from crds.meshconfig import CONFIG_KEY, CONFIG_MAP, read
from crds.problem import Invalid, Problem
from dragoman.sources.problems import only_in_a_cluster


def problems_of_settings(obj: object, *, in_cluster: bool = False) -> list[Problem]:
    """What is wrong with the mesh settings in an object; nothing for any other object."""
    if not isinstance(obj, ConfigMap) or (obj.namespace, obj.name) != CONFIG_MAP or CONFIG_KEY not in obj.data:
        return []
    try:
        settings, found = read(obj.data[CONFIG_KEY])
        if settings.discovery_selectors and not in_cluster:
            found = (*found, only_in_a_cluster("discoverySelectors"))
    except Invalid as error:
        found = error.problems
    return list(_within(f"data.{CONFIG_KEY}", found))


def _within(path: str, found: Iterable[Problem]) -> Iterable[Problem]:
    for each in found:
        joint = "" if not each.path or each.path.startswith("[") else "."
        yield msgspec.structs.replace(each, path=f"{path}{joint}{each.path}")
