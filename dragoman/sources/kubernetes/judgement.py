"""An object as an API server sends it, judged: what of it enters the mesh, and what there is to say about it. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec
import structlog

from crds.decode import decode
from crds.hooks import decode_hook
from crds.kubernetes.configmap import ConfigMap
from crds.meta import IstioObject, KubernetesObject, ObjectKey
from crds.problem import Invalid, Problem, Severity
from crds.registry import Kind
from crds.support import unsupported
from crds.validate import validate
from dragoman.sources import problems
from dragoman.sources.mesh_settings import problems_of_settings

log = structlog.get_logger(__name__)

_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"

Object = IstioObject | KubernetesObject


class Verdict(NamedTuple):
    """`object` is None where the document is no use; what was good before stays then."""

    object: Object | None
    problems: tuple[Problem, ...]


_DECODERS: dict[Kind, msgspec.json.Decoder[Object]] = {}


def judge(kind: Kind, data: msgspec.Raw, key: ObjectKey) -> Verdict:
    """Judge the JSON of an object of a kind, which the mesh knows as `key`.

    A list of Kubernetes' own kinds does not repeat what they are.
    """
    try:
        return _judged(kind, data, key)
    except Invalid as error:
        return Verdict(None, error.problems)
    except Exception as error:
        # Whoever may write one object must not bring down the mesh.
        log.exception("object not judged", object=str(key))
        return Verdict(None, (problems.not_judged(error),))


def _judged(kind: Kind, data: msgspec.Raw, key: ObjectKey) -> Verdict:
    obj = _as(key, _stripped(_decoded(kind, data)))
    if not isinstance(obj, IstioObject | ConfigMap):
        # The API server has validated its own kinds.
        return Verdict(obj, ())
    found = (*validate(obj), *unsupported(obj), *problems_of_settings(obj, in_cluster=True))
    broken = any(each.severity is Severity.ERROR for each in found)
    return Verdict(None if broken else obj, found)


def _decoded(kind: Kind, data: msgspec.Raw) -> Object:
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.json.Decoder(kind, dec_hook=decode_hook)
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:
        document = msgspec.json.decode(data, type=dict)
        # Every problem with its path; what is only written down differently (null for nothing) is none.
        of = {"apiVersion": kind.resource.api_version(), "kind": kind.__name__}
        return decode(of | document, default_namespace="")


def _stripped(obj: Object) -> Object:
    """Without what is no part of what the author wants: else every write of a status would be a change."""
    msgspec.structs.force_setattr(obj.metadata, "resource_version", "")
    obj.metadata.annotations.pop(_LAST_APPLIED, None)
    return obj


def _as(key: ObjectKey, obj: Object) -> Object:
    if obj.key == key:
        return obj
    metadata = msgspec.structs.replace(obj.metadata, namespace=key.namespace, name=key.name)
    return msgspec.structs.replace(obj, metadata=metadata)
