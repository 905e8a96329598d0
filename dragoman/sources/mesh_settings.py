"""The ConfigMap that holds the mesh's settings: a document within a document, checked like one."""

from collections.abc import Iterable

import msgspec

from crds.kubernetes.configmap import ConfigMap
from crds.meshconfig import read
from crds.problem import Invalid, Problem

_NAME, _NAMESPACE, _KEY = "istio", "istio-system", "mesh"
"""Istio: pilot/pkg/bootstrap/mesh.go. Other ConfigMaps are none of the mesh's business."""


def problems_of_settings(obj: object) -> list[Problem]:
    """What is wrong with the mesh settings in an object; nothing for any other object."""
    if not isinstance(obj, ConfigMap) or (obj.name, obj.namespace) != (_NAME, _NAMESPACE) or _KEY not in obj.data:
        return []
    try:
        _, found = read(obj.data[_KEY])
    except Invalid as error:
        found = error.problems
    return list(_within(f"data.{_KEY}", found))


def _within(path: str, found: Iterable[Problem]) -> Iterable[Problem]:
    for each in found:
        joint = "" if not each.path or each.path.startswith("[") else "."
        yield msgspec.structs.replace(each, path=f"{path}{joint}{each.path}")
