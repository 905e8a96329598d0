"""Documents to objects and back.

Istio's kinds are read strictly: a field that the API does not have is an error that names its path. Kubernetes' own
kinds skip what we do not read.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from crds.codes import problem
from crds.hooks import decode_hook, encode_hook
from crds.meta import IstioObject, KubernetesObject
from crds.problem import Invalid, Problem
from crds.registry import ISTIO_GROUPS, KINDS, Kind
from crds.report import close_match, misfits, unknown_field, without_nulls
from crds.shape import message_of

_TOP_LEVEL = frozenset(("apiVersion", "kind", "metadata", "spec", "status"))
# Kubernetes: apimachinery ObjectMeta. All are legal in a document, we read a few.
_METADATA = frozenset(
    (
        "annotations",
        "clusterName",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "initializers",
        "labels",
        "managedFields",
        "name",
        "namespace",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    )
)


class _Header(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str = ""
    kind: str = ""


def kind_of(document: Mapping[str, Any]) -> Kind | None:
    """The class a document decodes to, or None for kinds that are no business of ours (a Deployment).

    Raises Invalid when apiVersion or kind is missing, for a version that is not served, and for what looks like a
    misspelt kind or group of Istio's API: ignoring that would be silence about a resource its author relies on.
    """
    return _kind(document.get("apiVersion"), document.get("kind"))


def decode(document: Mapping[str, Any], *, default_namespace: str = "default") -> IstioObject | KubernetesObject:
    """Turn a document (as YAML or JSON gives it) into an object.

    `default_namespace` is for namespaced objects that name none. Raises Invalid with every problem found; `status` and
    `managedFields` pass unread.
    """
    kind = _known_kind(document.get("apiVersion"), document.get("kind"))
    if issubclass(kind, IstioObject):
        if document.get("spec") is None:
            document = {**document, "spec": {}}
        if unknown := tuple(_unknown_outside_spec(document)):
            raise Invalid((*unknown, *misfits(without_nulls(document, message_of(kind)), message_of(kind), "")))
    try:
        obj = msgspec.convert(document, kind, dec_hook=decode_hook, str_keys=True)
    except msgspec.ValidationError:
        obj = _decode_slowly(document, kind)
    return _placed(obj, default_namespace)


def decode_json(data: bytes, *, default_namespace: str = "default") -> IstioObject | KubernetesObject:
    """The same for one JSON document, such as an API server sends.

    Faster than `decode`; unknown fields outside `spec` are not looked for, since API servers drop them.
    """
    try:
        header = msgspec.json.decode(data, type=_Header)
        kind = _known_kind(header.api_version, header.kind)
        obj = _decoder(kind).decode(data)
    except msgspec.ValidationError:
        return _decode_plain(data, default_namespace)
    except _NO_JSON as error:
        raise _no_json(error) from error
    return _placed(obj, default_namespace)


def encode(obj: IstioObject | KubernetesObject) -> dict[str, Any]:
    """The document of an object, at its storage version; `decode(encode(obj)) == obj`."""
    body = msgspec.to_builtins(obj, enc_hook=encode_hook, str_keys=True)
    return {"apiVersion": obj.resource.api_version(), "kind": obj.kind, **body}


_DECODERS: dict[Kind, "msgspec.json.Decoder[IstioObject | KubernetesObject]"] = {}


def _decoder(kind: Kind) -> "msgspec.json.Decoder[IstioObject | KubernetesObject]":
    if kind not in _DECODERS:
        _DECODERS[kind] = msgspec.json.Decoder(kind, dec_hook=decode_hook)
    return _DECODERS[kind]


_NO_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _no_json(error: Exception) -> Invalid:
    return Invalid((problem("DRG0100", "", f"not JSON: {error}"),))


def _decode_plain(data: bytes, default_namespace: str) -> IstioObject | KubernetesObject:
    try:
        document: Any = msgspec.json.decode(data)
    except _NO_JSON as error:
        raise _no_json(error) from error
    if not isinstance(document, Mapping):
        raise Invalid((problem("DRG0100", "", "a document is an object with apiVersion, kind and metadata"),))
    return decode(document, default_namespace=default_namespace)


def _decode_slowly(document: Mapping[str, Any], kind: Kind) -> IstioObject | KubernetesObject:
    """Second try, forgiving what an API server forgives; failing that, the full report."""
    shape = message_of(kind)
    pruned = without_nulls(document, shape)
    try:
        return msgspec.convert(pruned, kind, dec_hook=decode_hook, str_keys=True)
    except msgspec.ValidationError as error:
        found = tuple(misfits(pruned, shape, "")) or (_untranslated(error),)
        raise Invalid(found) from None


def _untranslated(error: msgspec.ValidationError) -> Problem:
    text, _, path = str(error).partition(" - at `$")
    return problem("DRG0102", path.strip("`."), text.replace("`", ""))


def _unknown_outside_spec(document: Mapping[str, Any]) -> list[Problem]:
    found = [unknown_field(str(name), _TOP_LEVEL, "") for name in document if name not in _TOP_LEVEL]
    metadata = document.get("metadata")
    if isinstance(metadata, Mapping):
        found += [unknown_field(str(name), _METADATA, "metadata") for name in metadata if name not in _METADATA]
    return found


def _known_kind(api_version: Any, kind: Any) -> Kind:
    known = _kind(api_version, kind)
    if known is None:
        raise Invalid((problem("DRG0104", "kind", f"{kind} of {api_version} is not a kind we read"),))
    return known


def _kind(api_version: Any, name: Any) -> Kind | None:
    if not isinstance(api_version, str) or not api_version:
        raise Invalid((problem("DRG0100", "apiVersion", "a document needs an apiVersion", "add it"),))
    if not isinstance(name, str) or not name:
        raise Invalid((problem("DRG0100", "kind", "a document needs a kind", "add it"),))
    group, _, version = api_version.rpartition("/")
    kind = KINDS.get(name)
    if kind is not None and kind.resource.group == group:
        if version not in kind.resource.versions:
            served = ", ".join(kind.resource.api_version(served) for served in kind.resource.versions)
            raise Invalid((problem("DRG0105", "apiVersion", f"{name} is not served at {version}", f"use {served}"),))
        return kind
    if group in ISTIO_GROUPS:
        of_group = frozenset(known for known, cls in KINDS.items() if cls.resource.group == group)
        if kind is not None:
            remedy = f"{name} belongs to {kind.resource.api_version()}"
        elif guess := close_match(name, of_group):
            remedy = f"did you mean {guess}?"
        else:
            remedy = f"known: {', '.join(sorted(of_group))}"
        raise Invalid((problem("DRG0104", "kind", f"{group} has no kind {name}", remedy),))
    if kind is not None and issubclass(kind, IstioObject) and (guess := close_match(group, ISTIO_GROUPS)):
        # Gateway API's Gateway is a kind of its own: its group resembles none of Istio's.
        raise Invalid((problem("DRG0104", "apiVersion", f"no group {group} is known", f"did you mean {guess}?"),))
    return None


def _placed(obj: IstioObject | KubernetesObject, default_namespace: str) -> IstioObject | KubernetesObject:
    namespace = (obj.metadata.namespace or default_namespace) if obj.resource.namespaced else ""
    if namespace == obj.metadata.namespace:
        return obj
    metadata = msgspec.structs.replace(obj.metadata, namespace=namespace)
    return msgspec.structs.replace(obj, metadata=metadata)
