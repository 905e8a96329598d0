"""Keys, SPIFFE ids, issuing and rotation. Knows nothing of streams.

Certificates as SDS secrets are in `ca.secrets`, apart, so that whoever only signs need not load Envoy's API.
"""

from ca.authority import DEFAULT_LIFETIME, MAX_LIFETIME, Authority, AuthorityError, new_root
from ca.authority_files import RootStoreError
from ca.identity import InvalidIdentityError, SpiffeId, WorkloadIdentity
from ca.root_store import load, load_or_create
from ca.workload_certificates import IssuedCertificate, NotHeldError, WorkloadCertificates

__all__ = [
    "DEFAULT_LIFETIME",
    "MAX_LIFETIME",
    "Authority",
    "AuthorityError",
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
]
