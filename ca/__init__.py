"""Keys, SPIFFE ids, issuing and rotation. Knows nothing of streams."""

from ca.authority import DEFAULT_LIFETIME, MAX_LIFETIME, Authority, AuthorityError, new_root
from ca.identity import InvalidIdentityError, SpiffeId, WorkloadIdentity
from ca.root_store import RootStoreError, load, load_or_create
from ca.secrets import ROOT_SECRET, WORKLOAD_SECRET, Confidential, root_secret, workload_secret
from ca.workload_certificates import IssuedCertificate, NotHeldError, WorkloadCertificates

__all__ = [
    "DEFAULT_LIFETIME",
    "MAX_LIFETIME",
    "ROOT_SECRET",
    "WORKLOAD_SECRET",
    "Authority",
    "AuthorityError",
    "Confidential",
    "InvalidIdentityError",
    "IssuedCertificate",
    "NotHeldError",
    "RootStoreError",
    "SpiffeId",
    "WorkloadCertificates",
    "WorkloadIdentity",
    "load",
    "load_or_create",
    "new_root",
    "root_secret",
    "workload_secret",
]
