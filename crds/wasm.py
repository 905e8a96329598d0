"""The parts that WasmPlugin and TrafficExtension share."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from crds.limits import ENVIRONMENT
from crds.model import Message
from crds.scalars import NonEmpty256, PortNumber


class PullPolicy(StrEnum):
    UNSPECIFIED_POLICY = "UNSPECIFIED_POLICY"
    IF_NOT_PRESENT = "IfNotPresent"
    ALWAYS = "Always"


class FailStrategy(StrEnum):
    FAIL_CLOSE = "FAIL_CLOSE"
    FAIL_OPEN = "FAIL_OPEN"
    FAIL_RELOAD = "FAIL_RELOAD"


class PluginType(StrEnum):
    UNSPECIFIED_PLUGIN_TYPE = "UNSPECIFIED_PLUGIN_TYPE"
    HTTP = "HTTP"
    NETWORK = "NETWORK"


class EnvValueSource(StrEnum):
    INLINE = "INLINE"
    HOST = "HOST"


class EnvVar(Message, frozen=True):
    name: NonEmpty256
    value_from: EnvValueSource | None = None
    value: Annotated[str, Meta(max_length=2048)] | None = None


class VmConfig(Message, frozen=True):
    env: Annotated[tuple[EnvVar, ...], ENVIRONMENT] = ()


class TrafficMode(StrEnum):
    """istio.type.v1beta1.WorkloadMode."""

    UNDEFINED = "UNDEFINED"
    CLIENT = "CLIENT"
    SERVER = "SERVER"
    CLIENT_AND_SERVER = "CLIENT_AND_SERVER"


class TrafficPort(Message, frozen=True):
    number: PortNumber


class TrafficSelector(Message, frozen=True):
    """Both conditions must hold; no ports means every port."""

    mode: TrafficMode | None = None
    ports: tuple[TrafficPort, ...] = ()
