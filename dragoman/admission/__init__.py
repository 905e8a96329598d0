"""Admission webhooks: what the API server asks before it stores an object."""

from dragoman.admission.injection import injection
from dragoman.admission.review import AdmissionRequest, MalformedReviewError, Verdict, answer, read
from dragoman.admission.server import AdmissionServer
from dragoman.admission.validation import judge

__all__ = [
    "AdmissionRequest",
    "AdmissionServer",
    "MalformedReviewError",
    "Verdict",
    "answer",
    "injection",
    "judge",
    "read",
]
