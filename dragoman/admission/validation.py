"""Whether an object of Istio's API may enter the cluster, and what there is to say of it.

The shape first: every misfit with its path. Past that, all that is wrong with the meaning at once, and warnings for
what is legal and has no effect: the same findings as `dragoman validate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from crds.codes import problem
from crds.decode import decode_json
from crds.problem import Invalid, Problem, Severity
from crds.registry import ISTIO_GROUPS, ISTIO_KINDS
from crds.support import is_below, unsupported
from crds.validate import validate
from dragoman.admission.review import AdmissionRequest, MalformedReviewError, Verdict, document

_ALLOWED: Final = Verdict()


def judge(request: AdmissionRequest) -> Verdict:
    """The verdict on what a request would store.

    Deletions, subresources and kinds that are no business of ours pass; so does whatever is on its way out, since a
    finalizer could never be taken off an invalid object otherwise. What was invalid before and has not been touched is
    a warning: who sets a label or a finalizer need not mend the rest (Kubernetes: CRD validation ratcheting).
    Raises `MalformedReviewError`.
    """
    if not request.writes or request.kind.group not in ISTIO_GROUPS:
        return _ALLOWED
    new = document(request.object)
    if new is None:
        raise MalformedReviewError(f"{request.operation} without an object")
    if _metadata(new).get("deletionTimestamp"):
        return _ALLOWED
    if unread := _unread(request):
        return Verdict(warnings=(unread,))
    found = _findings(request)
    errors = [each for each in found if each.severity is Severity.ERROR]
    warnings = [each for each in found if each.severity is Severity.WARNING]
    if errors and (old := document(request.old_object)) is not None:
        errors, untouched = _split(errors, old, new)
        warnings = untouched + warnings
    return Verdict(tuple(errors), tuple(warnings))


def _findings(request: AdmissionRequest) -> Sequence[Problem]:
    try:
        obj = decode_json(bytes(request.object))
    except Invalid as invalid:
        return invalid.problems
    return (*validate(obj), *unsupported(obj))


def _unread(request: AdmissionRequest) -> Problem | None:
    """A kind or version that the API server serves and we do not know: somebody installed a newer definition."""
    asked = request.kind
    kind = ISTIO_KINDS.get(asked.kind)
    if kind is None or kind.resource.group != asked.group:
        return problem("DRG0201", "kind", f"{asked.kind} of {asked.group} has no effect: the kind is not known here")
    if asked.version not in kind.resource.versions:
        served = ", ".join(map(kind.resource.api_version, kind.resource.versions))
        message = f"{asked.kind} at {asked.version} was not checked: the version is not known here"
        return problem("DRG0201", "apiVersion", message, f"use {served}")
    return None


def _split(errors: list[Problem], old: dict[str, Any], new: dict[str, Any]) -> tuple[list[Problem], list[Problem]]:
    """Errors that this change is to blame for, and those in parts that it leaves as they were, as warnings."""
    was = _metadata(old)
    untouched = ["spec"] if old.get("spec") == new.get("spec") else []
    untouched += [f"metadata.{part}" for part, value in _metadata(new).items() if was.get(part) == value]
    kept = [each for each in errors if is_below(each.path, tuple(untouched))]
    blamed = [each for each in errors if each not in kept]
    return blamed, [msgspec.structs.replace(each, severity=Severity.WARNING) for each in kept]


def _metadata(obj: dict[str, Any]) -> dict[str, Any]:
    metadata = obj.get("metadata")
    return metadata if isinstance(metadata, dict) else {}
