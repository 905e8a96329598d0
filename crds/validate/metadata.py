"""Names and labels of every object (Kubernetes: apimachinery validation)."""

from collections.abc import Iterator

from crds.codes import problem
from crds.kubernetes.clustertrustbundle import ClusterTrustBundle
from crds.meta import Object
from crds.problem import Problem
from crds.validate.names import is_subdomain, labels


def check(obj: Object) -> Iterator[Problem]:
    name = obj.name
    if isinstance(obj, ClusterTrustBundle):
        # `signer.example:path:name` for a signer's bundle (Kubernetes: pkg/apis/certificates/validation).
        name = name.replace(":", "-")
    if not is_subdomain(name):
        yield problem("DRG0301", "metadata.name", f"{obj.name!r} is not a name", "lower-case letters, digits, - and .")
    yield from labels(obj.metadata.labels, "metadata.labels")
