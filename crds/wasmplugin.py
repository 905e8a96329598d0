"""WasmPlugin: a WebAssembly module in the filter chains of workloads."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from crds.limits import TARGETS
from crds.meta import IstioObject, Resource
from crds.model import Message
from crds.scalars import Int32, NonEmpty, NonEmpty253, NonEmpty256, Sha256
from crds.selector import WorkloadSelector
from crds.targetref import PolicyTargetReference
from crds.wasm import FailStrategy, PluginType, PullPolicy, TrafficSelector, VmConfig


class PluginPhase(StrEnum):
    UNSPECIFIED_PHASE = "UNSPECIFIED_PHASE"
    AUTHN = "AUTHN"
    AUTHZ = "AUTHZ"
    STATS = "STATS"


class WasmPluginSpec(Message, frozen=True):
    """`url` is oci://, http(s):// or file://; within a phase higher `priority` comes first."""

    url: NonEmpty
    selector: WorkloadSelector | None = None
    target_ref: PolicyTargetReference | None = None
    target_refs: Annotated[tuple[PolicyTargetReference, ...], TARGETS] = ()
    sha256: Sha256 | None = None
    image_pull_policy: PullPolicy | None = None
    image_pull_secret: NonEmpty253 | None = None
    verification_key: str | None = None
    plugin_config: dict[str, Any] | None = None
    plugin_name: NonEmpty256 | None = None
    phase: PluginPhase | None = None
    priority: Int32 | None = None
    fail_strategy: FailStrategy | None = None
    vm_config: VmConfig | None = None
    match: tuple[TrafficSelector, ...] = ()
    type: PluginType | None = None


class WasmPlugin(IstioObject, frozen=True, kw_only=True):
    resource: ClassVar = Resource("extensions.istio.io", "wasmplugins", ("v1alpha1",), "v1alpha1")
    spec: WasmPluginSpec
