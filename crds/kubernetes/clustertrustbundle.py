"""ClusterTrustBundle (certificates.k8s.io): certificates of authorities, for the whole cluster to trust."""

from typing import ClassVar

from crds.kubernetes.part import Part
from crds.meta import KubernetesObject, Resource


class ClusterTrustBundleSpec(Part, frozen=True):
    """`trust_bundle` is PEM."""

    trust_bundle: str = ""


class ClusterTrustBundle(KubernetesObject, frozen=True, kw_only=True):
    resource: ClassVar = Resource(
        "certificates.k8s.io", "clustertrustbundles", ("v1", "v1beta1", "v1alpha1"), "v1beta1", namespaced=False
    )
    spec: ClusterTrustBundleSpec = ClusterTrustBundleSpec()
