"""AdmissionReview, the question of the API server and the answer to it (Kubernetes: admission.k8s.io/v1)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from crds.problem import Problem

API_VERSION: Final = "admission.k8s.io/v1"

_WARNING: Final = 256
"""Characters of a warning that reach the client for certain (Kubernetes: k8s.io/apiserver/pkg/endpoints/filters,
warning.go): the API server cuts longer ones once all of them are more than `_WARNINGS`."""
_WARNINGS: Final = 4096
_ROOM: Final = _WARNINGS - _WARNING
"""What the last warning, which tells of the rest, and those of the API server itself leave."""


class MalformedReviewError(ValueError):
    """What was sent is no question that this webhook could answer; the message says why."""


class GroupVersionKind(msgspec.Struct, frozen=True):
    """A kind at the version that the webhook's rule has asked for."""

    group: str = ""
    version: str = ""
    kind: str = ""


class GroupVersionResource(msgspec.Struct, frozen=True):
    """The same as it stands in paths."""

    group: str = ""
    version: str = ""
    resource: str = ""


class AdmissionRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The part of an AdmissionReview's `request` that is read. Objects stay bytes until somebody wants them."""

    uid: str
    kind: GroupVersionKind
    resource: GroupVersionResource
    operation: str
    sub_resource: str = ""
    name: str = ""
    namespace: str = ""
    """"" for objects of the cluster."""
    object: msgspec.Raw = msgspec.Raw(b"null")
    old_object: msgspec.Raw = msgspec.Raw(b"null")
    dry_run: bool = False

    @property
    def writes(self) -> bool:
        """Whether an object is created or replaced, and not merely its status or another subresource."""
        return self.operation in ("CREATE", "UPDATE") and not self.sub_resource


class _Review(msgspec.Struct, rename="camel"):
    api_version: str
    kind: str
    request: AdmissionRequest


_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_READ: Final = msgspec.json.Decoder(_Review)
_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is answered. `errors` keep the object out, `warnings` are shown to whoever sent it."""

    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    patch: Sequence[dict[str, Any]] = ()
    """Operations of a JSON Patch (RFC 6902) that change the object on its way."""

    @property
    def allowed(self) -> bool:
        return not self.errors


def read(body: bytes) -> AdmissionRequest:
    """The request in a body; raises `MalformedReviewError`."""
    try:
        review = _READ.decode(body)
    except _UNREADABLE as error:
        raise MalformedReviewError(f"not an AdmissionReview: {error}") from error
    if (review.api_version, review.kind) != (API_VERSION, "AdmissionReview"):
        found = f"{review.kind} of {review.api_version}"
        raise MalformedReviewError(f"expected an AdmissionReview of {API_VERSION}, not {found}")
    return review.request


def document(data: msgspec.Raw) -> dict[str, Any] | None:
    """An object of a request as a document; None where there is none. Raises `MalformedReviewError`."""
    if bytes(data) == b"null":
        return None
    try:
        return _OBJECT.decode(data)
    except _UNREADABLE as error:
        raise MalformedReviewError(f"the request's object: {error}") from error


def answer(request: AdmissionRequest, verdict: Verdict) -> bytes:
    """The body of the answer."""
    response: dict[str, Any] = {"uid": request.uid, "allowed": verdict.allowed}
    if verdict.errors:
        response["status"] = _refusal(request, verdict.errors)
    elif verdict.patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(msgspec.json.encode(verdict.patch)).decode()
    if verdict.warnings:
        response["warnings"] = list(_fitting([_line(each) for each in verdict.warnings]))
    return msgspec.json.encode({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})


def _refusal(request: AdmissionRequest, errors: Sequence[Problem]) -> dict[str, Any]:
    """A Status as the API server gives for what its own schema refuses: `kubectl` prints each cause on a line."""
    return {
        "metadata": {},
        "status": "Failure",
        "code": 422,
        "reason": "Invalid",
        "message": "; ".join(map(_line, errors)),
        "details": {
            "name": request.name,
            "group": request.kind.group,
            "kind": request.kind.kind,
            "causes": [
                {"reason": "FieldValueInvalid", "field": each.path or "(object)", "message": _saying(each)}
                for each in errors
            ],
        },
    }


def _line(problem: Problem) -> str:
    where = f"{problem.path}: " if problem.path else ""
    return f"{problem.code} {where}{problem.message}{_remedy(problem)}"


def _saying(problem: Problem) -> str:
    return f"{problem.message}{_remedy(problem)} [{problem.code}]"


def _remedy(problem: Problem) -> str:
    return f" ({problem.remedy})" if problem.remedy else ""


def _fitting(lines: Sequence[str]) -> list[str]:
    """As many lines as the API server passes on, and how many there are beside them."""
    fitting: list[str] = []
    room = _ROOM
    for line in lines:
        room -= len(line)
        if room < 0:
            rest = len(lines) - len(fitting)
            return [*fitting, f"and {rest} more warnings: `dragoman validate` shows all of them"]
        fitting.append(line)
    return fitting
