"""MeshConfig: Istio's defaults, lenient about fields, strict about values."""

import msgspec
import pytest

from crds import Invalid
from crds.duration import Duration
from crds.loadbalancer import LocalityLoadBalancerSetting
from crds.meshconfig import MeshConfig, OutboundTrafficPolicyMode, parse, read
from crds.meshproxyconfig import InboundInterceptionMode
from crds.shape import ListOf, MapOf, Message, message_of
from crds.support import MESH_CONFIG


@pytest.mark.parametrize("text", ["", "{}", "# nothing\n", "rootNamespace:\n"])
def test_nothing_written_is_the_defaults(text: str) -> None:
    assert read(text) == (MeshConfig(), ())


def test_the_defaults_are_istios() -> None:
    mesh = MeshConfig()
    assert mesh.root_namespace == "istio-system"
    assert mesh.trust_domain == "cluster.local"
    assert mesh.connect_timeout == Duration(seconds=10)
    assert mesh.protocol_detection_timeout == Duration()
    assert mesh.enable_auto_mtls
    assert mesh.outbound_traffic_policy.mode is OutboundTrafficPolicyMode.ALLOW_ANY
    assert (mesh.proxy_listen_port, mesh.proxy_inbound_listen_port, mesh.proxy_http_port) == (15001, 15006, 0)
    assert mesh.default_service_export_to == ("*",)
    assert mesh.default_config.drain_duration == Duration(seconds=45)
    assert mesh.default_config.interception_mode is InboundInterceptionMode.REDIRECT
    assert mesh.locality_lb_setting == LocalityLoadBalancerSetting(enabled=True)


def test_what_is_written_wins() -> None:
    mesh = parse(
        """
        rootNamespace: mesh
        trustDomain: example.org
        outboundTrafficPolicy: {mode: REGISTRY_ONLY}
        enableAutoMtls: false
        accessLogFile: /dev/stdout
        connectTimeout: 1s
        protocolDetectionTimeout: 100ms
        proxyHttpPort: 15080
        meshMTLS: {minProtocolVersion: TLSV1_3}
        defaultConfig:
          interceptionMode: NONE
          gatewayTopology: {numTrustedProxies: 2}
          proxyMetadata: {A: b}
        """
    )
    assert (mesh.root_namespace, mesh.trust_domain) == ("mesh", "example.org")
    assert mesh.outbound_traffic_policy.mode is OutboundTrafficPolicyMode.REGISTRY_ONLY
    assert not mesh.enable_auto_mtls
    assert mesh.protocol_detection_timeout == Duration(milliseconds=100)
    assert mesh.mesh_mtls.min_protocol_version == "TLSV1_3"
    assert mesh.default_config.gateway_topology.num_trusted_proxies == 2
    assert mesh.default_config.proxy_metadata == {"A": "b"}
    assert mesh.default_config.status_port == 15020


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rootnamespace: a", [("DRG0203", "rootnamespace")]),
        (
            "extensionProviders: [{name: a, opentelemetry: {port: 1}}]",
            [("DRG0202", "extensionProviders[0].opentelemetry")],
        ),
        (
            "extensionProviders: [{name: a, envoyExtAuthzGrpc: {service: a.b, port: 1, prot: 2}}]",
            [("DRG0203", "extensionProviders[0].envoyExtAuthzGrpc.prot")],
        ),
        ("defaultConfig: {tracing: {sampling: 10}}", [("DRG0202", "defaultConfig.tracing")]),
        ("defaultConfig: {drainDuratio: 1s}", [("DRG0203", "defaultConfig.drainDuratio")]),
        ("defaultHttpRetryPolicy: {attempt: 3}", [("DRG0203", "defaultHttpRetryPolicy.attempt")]),
        ("localityLbSetting: {failover: [{form: a}]}", [("DRG0203", "localityLbSetting.failover[0].form")]),
        ("outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}", [("DRG0202", "outboundTrafficPolicy.mode")]),
        ("rootNamespace: a", []),
    ],
)
def test_fields_without_effect_are_warnings(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(problem.code, problem.path) for problem in read(text)[1]] == expected


def test_a_warning_keeps_the_other_settings() -> None:
    assert parse("{trustdomain: x, trustDomain: example.org}").trust_domain == "example.org"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("connectTimeout: 10", [("DRG0108", "connectTimeout")]),
        ("enableAutoMtls: 'no'\nproxyHttpPort: a", [("DRG0102", "enableAutoMtls"), ("DRG0102", "proxyHttpPort")]),
        ("outboundTrafficPolicy: {mode: ANY}", [("DRG0107", "outboundTrafficPolicy.mode")]),
        ("[1]", [("DRG0102", "")]),
        ("a: [", [("DRG0100", "")]),
    ],
)
def test_wrong_values_are_errors(text: str, expected: list[tuple[str, str]]) -> None:
    with pytest.raises(Invalid) as caught:
        read(text)
    assert [(problem.code, problem.path) for problem in caught.value.problems] == expected


def test_the_table_of_honoured_settings_has_no_stale_line() -> None:
    for field in MESH_CONFIG.entries:
        shape = message_of(MeshConfig)
        for name in field.split("."):
            assert isinstance(shape, Message)
            inner = shape.fields[name.removesuffix("[]").removesuffix("{}")].shape
            shape = inner.item if isinstance(inner, ListOf | MapOf) else inner  # type: ignore[assignment]


def test_settings_compare_by_value() -> None:
    """The engine stops where a value is unchanged: an edit of a comment in the ConfigMap changes nothing."""
    assert parse("{trustDomain: a}") == parse("# why\ntrustDomain: a\n")
    assert msgspec.structs.replace(MeshConfig(), trust_domain="a") == parse("trustDomain: a")
