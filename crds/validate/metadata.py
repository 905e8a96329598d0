"""Names and labels of every object (Kubernetes: apimachinery validation)."""

from collections.abc import Iterator

from crds.codes import problem
from crds.meta import Object
from crds.problem import Problem
from crds.validate.names import is_subdomain, labels


def check(obj: Object) -> Iterator[Problem]:
    if not is_subdomain(obj.name):
        yield problem("DRG0301", "metadata.name", f"{obj.name!r} is not a name", "lower-case letters, digits, - and .")
    yield from labels(obj.metadata.labels, "metadata.labels")
