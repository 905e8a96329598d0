"""TrafficExtension: a WebAssembly module or a Lua script in the filter chains of workloads."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from crds.limits import TARGETS
from crds.meta import IstioObject, Resource
from crds.model import Message
from crds.scalars import Int32, NonEmpty, NonEmpty253, NonEmpty256, NonEmpty65536, Sha256
from crds.selector import WorkloadSelector
from crds.targetref import PolicyTargetReference
from crds.wasm import FailStrategy, PluginType, PullPolicy, TrafficSelector, VmConfig


class ExecutionPhase(StrEnum):
    UNSPECIFIED = "UNSPECIFIED"
    AUTHN = "AUTHN"
    AUTHZ = "AUTHZ"
    STATS = "STATS"


class WasmConfig(Message, frozen=True):
    url: NonEmpty
    sha256: Sha256 | None = None
    image_pull_policy: PullPolicy | None = None
    image_pull_secret: NonEmpty253 | None = None
    verification_key: str | None = None
    plugin_config: dict[str, Any] | None = None
    plugin_name: NonEmpty256 | None = None
    fail_strategy: FailStrategy | None = None
    vm_config: VmConfig | None = None
    type: PluginType | None = None


class LuaConfig(Message, frozen=True):
    inline_code: NonEmpty65536


class TrafficExtensionSpec(Message, frozen=True):
    """One of wasm and lua."""

    selector: WorkloadSelector | None = None
    target_refs: Annotated[tuple[PolicyTargetReference, ...], TARGETS] = ()
    phase: ExecutionPhase | None = None
    priority: Int32 | None = None
    match: tuple[TrafficSelector, ...] = ()
    wasm: WasmConfig | None = None
    lua: LuaConfig | None = None


class TrafficExtension(IstioObject, frozen=True, kw_only=True):
    resource: ClassVar = Resource("extensions.istio.io", "trafficextensions", ("v1alpha1",), "v1alpha1")
    spec: TrafficExtensionSpec
