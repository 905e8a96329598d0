"""The ConfigMap of an installation as settings of the injector."""

from __future__ import annotations

import pytest

from crds.labelselector import LabelSelector
from crds.meshconfig import MeshConfig
from dragoman.sidecar.injection import InjectionSettings, ProxyResources
from dragoman.sidecar.injection.config_map import settings_of

MESH = MeshConfig()


def settings(config: str = "", values: str = "") -> InjectionSettings:
    return settings_of({"config": config or "{}", "values": values or "{}"}, drain_secret=b"s", mesh=MESH)


def test_reads_what_istio_writes_there() -> None:
    found = settings(
        "policy: disabled\nneverInjectSelector: [{matchLabels: {a: b}}]\ninjectedAnnotations: {c: d}\n"
        "templates: {own: {spec: {priority: 1}}, text: 'spec: {priority: 2}'}\ndefaultTemplates: [sidecar, own]\n"
        "aliases: {}\n",
        '{"global": {"hub": "x", "network": "n", "multiCluster": {"clusterName": "c"}, "imagePullSecrets": ["p"],'
        ' "proxy": {"image": "e", "excludeInboundPorts": 8080, "includeIPRanges": "10.0.0.0/8",'
        ' "resources": {"requests": {"cpu": 0.5}, "limits": {"memory": "1Gi"}}}, "proxy_init": {"image": "i"}},'
        ' "revision": "canary", "revisionTags": ["prod"], "cni": {"enabled": true},'
        ' "sidecarInjectorWebhook": {"rewriteAppHTTPProbe": false}}',
    )
    assert found == InjectionSettings(
        drain_secret=b"s",
        mesh=MESH,
        revision="canary",
        tags=frozenset({"prod"}),
        policy="disabled",
        never_inject=(LabelSelector(match_labels={"a": "b"}),),
        default_templates=("sidecar", "own"),
        templates={"own": {"spec": {"priority": 1}}, "text": {"spec": {"priority": 2}}},
        injected_annotations={"c": "d"},
        proxy_image="e",
        capture_image="i",
        image_pull_secrets=("p",),
        resources=ProxyResources("0.5", "", "", "1Gi"),
        cni=True,
        rewrite_probes=False,
        include_outbound_ranges="10.0.0.0/8",
        exclude_inbound_ports="8080",
        cluster_id="c",
        network="n",
    )


@pytest.mark.parametrize(
    ("config", "values", "said"),
    [
        ("policy: perhaps", "", r"config: Invalid enum value 'perhaps'.*policy"),
        ("", "global: {proxy: {image: 1}}", r"values: Expected `str`.*global\.proxy\.image"),
        ("templates: {t: '{{ if .x }}'}", "", r"templates\.t: Go's template language"),
        ("templates: {t: '[1]'}", "", r"templates\.t: a Pod is expected"),
        ("a: [", "", r"config: .*"),
    ],
)
def test_says_what_is_wrong_and_where(config: str, values: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        settings(config, values)
