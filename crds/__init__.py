"""What operators write: typed, frozen models of Istio's and Kubernetes' kinds, their decoding and validation."""

from crds.decode import decode, decode_json, encode, kind_of
from crds.meta import IstioObject, KubernetesObject, Object, ObjectKey, ObjectMeta, Resource, age_order
from crds.problem import Invalid, Problem, Severity

__all__ = [
    "Invalid",
    "IstioObject",
    "KubernetesObject",
    "Object",
    "ObjectKey",
    "ObjectMeta",
    "Problem",
    "Resource",
    "Severity",
    "age_order",
    "decode",
    "decode_json",
    "encode",
    "kind_of",
]
