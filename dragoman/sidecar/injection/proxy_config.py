"""The ProxyConfig of a pod: the mesh's, then ProxyConfig resources, then the pod's annotation (Istio: ProxyConfig)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import yaml

from crds import meshconfig
from crds.codes import problem
from crds.hooks import encode_hook
from crds.meshproxyconfig import MeshProxyConfig
from crds.meta import age_order
from crds.problem import Invalid, Problem
from crds.proxyconfig import ProxyConfig
from dragoman.sidecar.injection.annotations import PROXY_CONFIG
from dragoman.sidecar.injection.settings import InjectionSettings, Json

_PATH = f"metadata.annotations[{PROXY_CONFIG}]"
_SECTION = "defaultConfig"


def proxy_config(
    labels: Mapping[str, str], annotations: Mapping[str, str], namespace: str, settings: InjectionSettings
) -> tuple[MeshProxyConfig, tuple[Problem, ...]]:
    """The settings in force and warnings about the annotation. Raises Invalid when the annotation is no ProxyConfig."""
    written = msgspec.to_builtins(settings.mesh.default_config, enc_hook=encode_hook)
    for resource in _in_force(settings, labels, namespace):
        written = _merged(written, _as_settings(resource))
    text = annotations.get(PROXY_CONFIG)
    if text is None:
        return _decoded(written)[0], ()
    return _decoded(_merged(written, _document(text)))


def _in_force(settings: InjectionSettings, labels: Mapping[str, str], namespace: str) -> Iterable[ProxyConfig]:
    """At most one of the mesh, of the namespace and of the workload; the oldest of several, as elsewhere in Istio."""
    root = settings.mesh.root_namespace
    found: dict[int, ProxyConfig] = {}
    for resource in sorted(settings.proxy_configs, key=age_order):
        selector = resource.spec.selector.match_labels if resource.spec.selector is not None else {}
        if resource.namespace not in (root, namespace) or not selector.items() <= labels.items():
            continue
        rank = 2 if selector else 1 if resource.namespace != root else 0
        found.setdefault(rank, resource)
    return (found[rank] for rank in sorted(found))


def _as_settings(resource: ProxyConfig) -> dict[str, Json]:
    spec = resource.spec
    settings: dict[str, Json] = {"proxyMetadata": dict(spec.environment_variables)}
    if spec.concurrency is not None:
        settings["concurrency"] = spec.concurrency
    if spec.image is not None and spec.image.image_type is not None:
        settings["image"] = {"imageType": spec.image.image_type}
    return settings


def _document(text: str) -> dict[str, Json]:
    try:
        document = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise Invalid((problem("DRG0601", _PATH, f"not YAML: {error}", "correct the syntax"),)) from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise Invalid((problem("DRG0601", _PATH, "it is no mapping of the fields of ProxyConfig"),))
    return document


def _decoded(document: Mapping[str, Json]) -> tuple[MeshProxyConfig, tuple[Problem, ...]]:
    try:
        config, warnings = meshconfig.read(yaml.dump({_SECTION: document}, Dumper=yaml.CSafeDumper))
    except Invalid as error:
        raise Invalid(tuple(_placed(each) for each in error.problems)) from None
    return config.default_config, tuple(_placed(each) for each in warnings)


def _placed(found: Problem) -> Problem:
    """The problem as one of the annotation."""
    return msgspec.structs.replace(found, path=f"{_PATH}.{found.path.removeprefix(_SECTION).lstrip('.')}")


def _merged(base: Any, patch: Any) -> Any:
    if isinstance(base, Mapping) and isinstance(patch, Mapping):
        return {**base, **{key: _merged(base.get(key), value) for key, value in patch.items()}}
    return patch
