"""How a control plane injects, as its installation says: the ConfigMap `istio-sidecar-injector` (Istio:
pkg/kube/inject, Config and ValuesConfig).

Its key `config` has the policy and templates, `values` what the proxies are like. Keys that have no effect here are
ignored, so that Istio's own can be read; a value of the wrong type is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeVar

import msgspec

from crds.labelselector import LabelSelector
from crds.meshconfig import MeshConfig
from crds.proxyconfig import ProxyConfig
from dragoman.sidecar.injection.settings import ENVOY_IMAGE, InjectionSettings, Json, ProxyResources

NAME: Final = "istio-sidecar-injector"
"""Of the default revision's; `-REVISION` is added for others."""

Port = str | int
T = TypeVar("T")


class _Config(msgspec.Struct, frozen=True, rename="camel"):
    policy: Literal["enabled", "disabled"] = "enabled"
    never_inject_selector: tuple[LabelSelector, ...] = ()
    always_inject_selector: tuple[LabelSelector, ...] = ()
    injected_annotations: dict[str, str] = {}
    templates: dict[str, dict[str, Json] | str] = {}
    default_templates: tuple[str, ...] = ()


class _Amounts(msgspec.Struct, frozen=True):
    cpu: str | float = ""
    memory: str | float = ""


class _Resources(msgspec.Struct, frozen=True):
    requests: _Amounts = _Amounts()
    limits: _Amounts = _Amounts()


class _Proxy(msgspec.Struct, frozen=True, rename="camel"):
    image: str = ENVOY_IMAGE
    cluster_domain: str = "cluster.local"
    log_level: str = "warning"
    component_log_level: str = ""
    include_ip_ranges: str = msgspec.field(default="*", name="includeIPRanges")
    exclude_ip_ranges: str = msgspec.field(default="", name="excludeIPRanges")
    include_inbound_ports: Port = "*"
    exclude_inbound_ports: Port = ""
    include_outbound_ports: Port = ""
    exclude_outbound_ports: Port = ""
    native_sidecars: bool = True
    resources: _Resources = _Resources()


class _ProxyInit(msgspec.Struct, frozen=True):
    image: str = "dragoman:latest"
    backend: Literal["auto", "iptables", "nftables"] = "auto"


class _MultiCluster(msgspec.Struct, frozen=True, rename="camel"):
    cluster_name: str = "Kubernetes"


class _Global(msgspec.Struct, frozen=True, rename="camel"):
    image_pull_policy: str = ""
    image_pull_secrets: tuple[str, ...] = ()
    multi_cluster: _MultiCluster = _MultiCluster()
    network: str = ""
    proxy: _Proxy = _Proxy()
    proxy_init: _ProxyInit = msgspec.field(default_factory=_ProxyInit, name="proxy_init")


class _Injector(msgspec.Struct, frozen=True):
    rewrite_probes: bool = msgspec.field(default=True, name="rewriteAppHTTPProbe")


class _Cni(msgspec.Struct, frozen=True):
    enabled: bool = False


class _Values(msgspec.Struct, frozen=True, rename="camel"):
    of_all: _Global = msgspec.field(default_factory=_Global, name="global")
    revision: str = ""
    revision_tags: tuple[str, ...] = ()
    sidecar_injector_webhook: _Injector = _Injector()
    cni: _Cni = _Cni()


def settings_of(
    data: Mapping[str, str], *, drain_secret: bytes, mesh: MeshConfig, proxy_configs: tuple[ProxyConfig, ...] = ()
) -> InjectionSettings:
    """The settings that the ConfigMap's data and the mesh's make. Raises ValueError with key and path."""
    config, values = _decoded(data, "config", _Config), _decoded(data, "values", _Values)
    proxy, requests, limits = (
        values.of_all.proxy,
        values.of_all.proxy.resources.requests,
        values.of_all.proxy.resources.limits,
    )
    return InjectionSettings(
        drain_secret=drain_secret,
        mesh=mesh,
        proxy_configs=proxy_configs,
        revision=values.revision or "default",
        tags=frozenset(values.revision_tags),
        policy=config.policy,
        never_inject=config.never_inject_selector,
        always_inject=config.always_inject_selector,
        default_templates=config.default_templates or ("sidecar",),
        templates={name: _template(name, each) for name, each in config.templates.items()},
        injected_annotations=config.injected_annotations,
        proxy_image=proxy.image,
        capture_image=values.of_all.proxy_init.image,
        image_pull_policy=values.of_all.image_pull_policy,
        image_pull_secrets=values.of_all.image_pull_secrets,
        resources=ProxyResources(
            _quantity(requests.cpu), _quantity(requests.memory), _quantity(limits.cpu), _quantity(limits.memory)
        ),
        native_sidecars=proxy.native_sidecars,
        cni=values.cni.enabled,
        rewrite_probes=values.sidecar_injector_webhook.rewrite_probes,
        capture_backend=values.of_all.proxy_init.backend,
        include_outbound_ranges=proxy.include_ip_ranges,
        exclude_outbound_ranges=proxy.exclude_ip_ranges,
        include_inbound_ports=str(proxy.include_inbound_ports),
        exclude_inbound_ports=str(proxy.exclude_inbound_ports),
        include_outbound_ports=str(proxy.include_outbound_ports),
        exclude_outbound_ports=str(proxy.exclude_outbound_ports),
        cluster_id=values.of_all.multi_cluster.cluster_name,
        network=values.of_all.network,
        cluster_domain=proxy.cluster_domain,
        log_level=proxy.log_level,
        component_log_level=proxy.component_log_level,
    )


def _decoded(data: Mapping[str, str], key: str, shape: type[T]) -> T:
    try:
        return msgspec.yaml.decode(data.get(key, "{}"), type=shape)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{key}: {error}") from None


def _template(name: str, template: dict[str, Json] | str) -> Mapping[str, Json]:
    if isinstance(template, dict):
        return template
    if "{{" in template:
        raise ValueError(f"config: templates.{name}: Go's template language is not evaluated: write the overlay itself")
    try:
        found: Any = msgspec.yaml.decode(template)
    except msgspec.MsgspecError as error:
        raise ValueError(f"config: templates.{name}: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"config: templates.{name}: a Pod is expected")
    return found


def _quantity(amount: str | float) -> str:
    return f"{amount:g}" if isinstance(amount, float) else amount
