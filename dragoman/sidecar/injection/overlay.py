"""Kubernetes' strategic merge of pods: how a template, or a container that the author wrote, changes what is injected.

The merge keys are those of the API's types (Kubernetes API: core/v1, `patchMergeKey`); lists without one are replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dragoman.sidecar.injection.settings import Json

_MERGE_KEYS: Final[Mapping[str, str]] = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "resourceClaims": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
}
_DIRECTIVE: Final = "$patch"


def merge(base: Json, patch: Json) -> Json:
    """`base` with `patch` merged in; neither is changed. `$patch: replace` and `$patch: delete` and null are obeyed.

    Items that only the patch has follow those of the base, in the order of the patch.
    """
    if not isinstance(patch, Mapping):
        return patch
    rest = {key: value for key, value in patch.items() if key != _DIRECTIVE}
    if patch.get(_DIRECTIVE) == "replace" or not isinstance(base, Mapping):
        return _without_nulls(rest)
    merged = dict(base)
    for key, value in rest.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, list) and key in _MERGE_KEYS:
            merged[key] = _merge_lists(merged.get(key) or [], value, _MERGE_KEYS[key])
        elif key in merged:
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = _without_nulls(value)
    return merged


def _merge_lists(base: list[Json], patch: list[Json], key: str) -> list[Json]:
    if any(item.get(_DIRECTIVE) == "replace" for item in patch):
        return [_without_nulls(item) for item in patch if _DIRECTIVE not in item]
    merged = list(base)
    for item in patch:
        places = [index for index, other in enumerate(merged) if other.get(key) == item.get(key)]
        if item.get(_DIRECTIVE) == "delete":
            merged = [other for index, other in enumerate(merged) if index not in places]
        elif places:
            merged[places[0]] = merge(merged[places[0]], item)
        else:
            merged.append(_without_nulls(item))
    return merged


def _without_nulls(value: Json) -> Json:
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None and key != _DIRECTIVE}
    return value
