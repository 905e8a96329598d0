"""AuthorizationPolicy: who may call what."""

from enum import StrEnum
from typing import Annotated, ClassVar

from crds.limits import RULES, SERVICE_ACCOUNTS, TARGETS
from crds.meta import IstioObject, Resource
from crds.model import Message
from crds.scalars import Text320
from crds.selector import WorkloadSelector
from crds.targetref import PolicyTargetReference


class Action(StrEnum):
    ALLOW = "ALLOW"
    DENY = "DENY"
    AUDIT = "AUDIT"
    CUSTOM = "CUSTOM"


class AuthorizationProvider(Message, frozen=True):
    """AuthorizationPolicy.ExtensionProvider: one of MeshConfig.extensionProviders, for CUSTOM."""

    name: str | None = None


class Source(Message, frozen=True):
    """All fields must hold; of the values of a field one suffices."""

    principals: tuple[str, ...] = ()
    not_principals: tuple[str, ...] = ()
    request_principals: tuple[str, ...] = ()
    not_request_principals: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    not_namespaces: tuple[str, ...] = ()
    service_accounts: Annotated[tuple[Text320, ...], SERVICE_ACCOUNTS] = ()
    not_service_accounts: Annotated[tuple[Text320, ...], SERVICE_ACCOUNTS] = ()
    trust_domains: tuple[str, ...] = ()
    not_trust_domains: tuple[str, ...] = ()
    ip_blocks: tuple[str, ...] = ()
    not_ip_blocks: tuple[str, ...] = ()
    remote_ip_blocks: tuple[str, ...] = ()
    not_remote_ip_blocks: tuple[str, ...] = ()


class From(Message, frozen=True):
    source: Source | None = None


class Operation(Message, frozen=True):
    """All fields must hold; of the values of a field one suffices."""

    hosts: tuple[str, ...] = ()
    not_hosts: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    not_ports: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    not_methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    not_paths: tuple[str, ...] = ()


class To(Message, frozen=True):
    operation: Operation | None = None


class Condition(Message, frozen=True):
    key: str
    values: tuple[str, ...] = ()
    not_values: tuple[str, ...] = ()


class Rule(Message, frozen=True):
    """One of `from_`, one of `to` and all of `when` must match; an empty rule matches every request."""

    from_: Annotated[tuple[From, ...], RULES] = ()
    to: Annotated[tuple[To, ...], RULES] = ()
    when: Annotated[tuple[Condition, ...], RULES] = ()


class AuthorizationPolicySpec(Message, frozen=True):
    """`action` unset is ALLOW. No rules match nothing, so an ALLOW policy without rules denies everything."""

    selector: WorkloadSelector | None = None
    target_ref: PolicyTargetReference | None = None
    target_refs: Annotated[tuple[PolicyTargetReference, ...], TARGETS] = ()
    rules: Annotated[tuple[Rule, ...], RULES] = ()
    action: Action | None = None
    provider: AuthorizationProvider | None = None

    @property
    def targets(self) -> tuple[PolicyTargetReference, ...]:
        """What the policy is for, however it is written (Istio: GetTargetRefs)."""
        return self.target_refs or ((self.target_ref,) if self.target_ref is not None else ())


DRY_RUN = "istio.io/dry-run"
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}


class AuthorizationPolicy(IstioObject, frozen=True, kw_only=True):
    resource: ClassVar = Resource("security.istio.io", "authorizationpolicies", ("v1", "v1beta1"), "v1", ("ap",))
    spec: AuthorizationPolicySpec

    @property
    def dry_run(self) -> bool | None:
        """Whether the policy only notes what it would decide; None for an annotation that cannot be read, which Istio
        takes as no (Istio: isDryRun, which reads Go's spellings of booleans)."""
        return _BOOLEANS.get(self.metadata.annotations.get(DRY_RUN, "false"))
