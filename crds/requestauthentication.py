"""RequestAuthentication: which JWTs a workload trusts."""

from enum import StrEnum
from typing import Annotated, ClassVar

from msgspec import field

from crds.duration import Duration
from crds.limits import JWT_RULES, TARGETS
from crds.meta import IstioObject, Resource
from crds.model import Message
from crds.scalars import NonEmpty, NonEmpty2048, NonEmptyHeaderName
from crds.selector import WorkloadSelector
from crds.targetref import PolicyTargetReference


class JWTHeader(Message, frozen=True):
    name: NonEmpty
    prefix: str | None = None


class ClaimToHeader(Message, frozen=True):
    header: NonEmptyHeaderName
    claim: NonEmpty


class Presence(StrEnum):
    OPTIONAL = "OPTIONAL"
    REQUIRED = "REQUIRED"


class JWTRule(Message, frozen=True):
    """`jwks` holds the keys inline; otherwise they are fetched from `jwks_uri`, else found by OpenID discovery."""

    issuer: NonEmpty
    audiences: tuple[str, ...] = ()
    jwks_uri: NonEmpty2048 | None = None
    jwks_uri_alias: NonEmpty2048 | None = field(default=None, name="jwks_uri")
    jwks: str | None = None
    from_headers: tuple[JWTHeader, ...] = ()
    from_params: tuple[str, ...] = ()
    from_cookies: tuple[str, ...] = ()
    output_payload_to_header: str | None = None
    forward_original_token: bool | None = None
    output_claim_to_headers: tuple[ClaimToHeader, ...] = ()
    timeout: Duration | None = None
    space_delimited_claims: tuple[str, ...] = ()
    presence: Presence | None = None


class RequestAuthenticationSpec(Message, frozen=True):
    selector: WorkloadSelector | None = None
    target_ref: PolicyTargetReference | None = None
    target_refs: Annotated[tuple[PolicyTargetReference, ...], TARGETS] = ()
    jwt_rules: Annotated[tuple[JWTRule, ...], JWT_RULES] = ()

    @property
    def targets(self) -> tuple[PolicyTargetReference, ...]:
        """What the policy is for, however it is written (Istio: GetTargetRefs)."""
        return self.target_refs or ((self.target_ref,) if self.target_ref is not None else ())


class RequestAuthentication(IstioObject, frozen=True, kw_only=True):
    resource: ClassVar = Resource("security.istio.io", "requestauthentications", ("v1", "v1beta1"), "v1", ("ra",))
    spec: RequestAuthenticationSpec
