"""What is wrong with annotations: refused with its place, never taken for something else."""

import pytest
from injected_proxy import SETTINGS, container, injected, pod_of

from crds.codes import CODES
from crds.problem import Invalid, Severity
from dragoman.capture import Capture
from dragoman.sidecar.injection import annotations
from dragoman.sidecar.injection.options import options

WRONG = {
    "sidecar.istio.io/rewriteAppHTTPProbers": "yes",
    "sidecar.istio.io/discoveryAddress": "istiod",
    "sidecar.istio.io/proxyImage": " ",
    "sidecar.istio.io/proxyImageType": "slim",
    "sidecar.istio.io/proxyCPU": "much",
    "sidecar.istio.io/proxyCPULimit": "1 core",
    "sidecar.istio.io/proxyMemory": "1GB",
    "sidecar.istio.io/proxyMemoryLimit": "-1",
    "sidecar.istio.io/interceptionMode": "redirect",
    "sidecar.istio.io/bootstrapOverride": "My Map",
    "sidecar.istio.io/statsHistogramBuckets": '{"a": [2, 1]}',
    "sidecar.istio.io/statsHistogramBins": '{"a": 0}',
    "sidecar.istio.io/statsFlushInterval": "5",
    "sidecar.istio.io/statsEvictionInterval": "1us",
    "sidecar.istio.io/userVolume": "[]",
    "sidecar.istio.io/userVolumeMount": '{"a": "b"}',
    "sidecar.istio.io/logLevel": "loud",
    "sidecar.istio.io/componentLogLevel": "upstream",
    "sidecar.istio.io/nativeSidecar": "True",
    "status.sidecar.istio.io/port": "65536",
    "readiness.status.sidecar.istio.io/initialDelaySeconds": "-1",
    "readiness.status.sidecar.istio.io/periodSeconds": "1s",
    "readiness.status.sidecar.istio.io/failureThreshold": "",
    "traffic.sidecar.istio.io/includeOutboundIPRanges": "*,10.0.0.0/8",
    "traffic.sidecar.istio.io/excludeOutboundIPRanges": "10.0.0.1",
    "traffic.sidecar.istio.io/includeInboundPorts": "http",
    "traffic.sidecar.istio.io/excludeInboundPorts": "80;90",
    "traffic.sidecar.istio.io/includeOutboundPorts": "-1",
    "traffic.sidecar.istio.io/excludeOutboundPorts": "70000",
    "traffic.sidecar.istio.io/excludeInterfaces": "eth0/1",
    "traffic.sidecar.istio.io/kubevirtInterfaces": "a-name-that-is-too-long",
    "istio.io/reroute-virtual-interfaces": "a b",
    "prometheus.istio.io/merge-metrics": "1",
}


@pytest.mark.parametrize(("key", "value"), WRONG.items())
def test_a_wrong_value_keeps_the_pod_out(key: str, value: str) -> None:
    with pytest.raises(Invalid) as raised:
        injected(pod_of(annotations={key: value}))
    (found,) = raised.value.problems
    assert (found.code, found.path) == ("DRG0601", f"metadata.annotations[{key}]")


def test_every_annotation_with_an_effect_is_checked_above_or_takes_any_text() -> None:
    anything = {"statsInclusionPrefixes", "statsInclusionSuffixes", "statsInclusionRegexps"}
    assert set(WRONG) | {f"sidecar.istio.io/{name}" for name in anything} == set(annotations.CHECKS)


def test_all_that_is_wrong_is_said_at_once() -> None:
    wrong = {**WRONG, "proxy.istio.io/config": "concurrency: many"}
    with pytest.raises(Invalid) as raised:
        injected(pod_of(annotations=wrong))
    errors = [found for found in raised.value.problems if found.severity is Severity.ERROR]
    assert len(errors) == len(WRONG) + 1


@pytest.mark.parametrize(
    ("text", "code", "path"),
    [
        ("concurrency: many", "DRG0102", ".concurrency"),
        ("drainDuration: 5", "DRG0108", ".drainDuration"),
        ("interceptionMode: ALL", "DRG0107", ".interceptionMode"),
        ("[1]", "DRG0601", ""),
        ("a: [", "DRG0601", ""),
    ],
)
def test_a_proxy_config_that_is_none(text: str, code: str, path: str) -> None:
    with pytest.raises(Invalid) as raised:
        injected(pod_of(annotations={"proxy.istio.io/config": text}))
    (found,) = raised.value.problems
    assert (found.code, found.path) == (code, f"metadata.annotations[proxy.istio.io/config]{path}")


@pytest.mark.parametrize("templates", ["", "unknown", "sidecar,gateway", "grpc-agent"])
def test_templates_name_exactly_one_proxy(templates: str) -> None:
    with pytest.raises(Invalid, match=r"DRG0601 metadata\.annotations.inject\.istio\.io/templates"):
        injected(pod_of(annotations={"inject.istio.io/templates": templates}))


def test_the_codes_of_injection_say_whether_the_pod_starts() -> None:
    errors = {code for code, entry in CODES.items() if code.startswith("DRG06") and entry.severity is Severity.ERROR}
    assert errors == {"DRG0601", "DRG0605"}


@pytest.mark.parametrize(
    ("limit", "written", "threads"),
    [
        ("2", None, 2),
        ("1500m", None, 2),
        ("100m", None, 1),
        ("", None, 2),
        ("2", 0, None),
        ("2", 5, 5),
        ("odd", None, 2),
    ],
)
def test_as_many_threads_as_the_limit_has_cores(limit: str, written: int | None, threads: int | None) -> None:
    chosen = {"sidecar.istio.io/proxyMemory": "1Gi"} | ({"sidecar.istio.io/proxyCPULimit": limit} if limit else {})
    if limit == "odd":
        chosen["sidecar.istio.io/proxyCPULimit"] = "1e0"
    if written is not None:
        chosen["proxy.istio.io/config"] = f"concurrency: {written}"
    arguments = container(injected(pod_of(annotations=chosen)).pod)["args"]
    found = arguments[arguments.index("--concurrency") + 1] if "--concurrency" in arguments else None
    assert found == (None if threads is None else "1" if limit == "odd" else str(threads))


@pytest.mark.parametrize(
    ("setting", "kind", "image"),
    [
        ("envoyproxy/envoy:distroless-v1.40.0", "", "envoyproxy/envoy:distroless-v1.40.0"),
        ("envoyproxy/envoy:distroless-v1.40.0", "default", "envoyproxy/envoy:v1.40.0"),
        ("envoyproxy/envoy:distroless-v1.40.0", "debug", "envoyproxy/envoy:debug-v1.40.0"),
        ("localhost:5000/envoy:v1.40.0", "distroless", "localhost:5000/envoy:distroless-v1.40.0"),
        ("localhost:5000/envoy", "distroless", "localhost:5000/envoy"),
        ("envoy@sha256:0123", "distroless", "envoy@sha256:0123"),
    ],
)
def test_kinds_of_upstreams_image(setting: str, kind: str, image: str) -> None:
    from dataclasses import replace

    chosen = {"sidecar.istio.io/proxyImageType": kind} if kind else {}
    made = injected(pod_of(annotations=chosen), replace(SETTINGS, proxy_image=setting))
    assert container(made.pod)["image"] == image


def test_what_the_injector_writes_the_capture_program_reads() -> None:
    """They share no code: the arguments of the container are what passes between them."""
    chosen = {
        "traffic.sidecar.istio.io/includeOutboundIPRanges": "10.0.0.0/8,fd00::/8",
        "traffic.sidecar.istio.io/excludeOutboundPorts": "3306",
        "traffic.sidecar.istio.io/includeInboundPorts": "",
    }
    arguments = container(injected(pod_of(annotations=chosen)).pod, "istio-init")["args"]
    pairs = (argument.removeprefix("--").partition("=") for argument in arguments)
    capture = Capture.of_texts({key: value for key, _, value in pairs})
    assert [str(each) for each in capture.include_outbound_ranges] == ["10.0.0.0/8", "fd00::/8"]
    assert (capture.exclude_outbound_ports, capture.include_inbound_ports) == ((3306,), ())
    assert set(capture.exclude_inbound_ports) == {15090, 15021, 15020}
    assert (capture.proxy_uid, capture.proxy_gid) == (1337, 1337)


def test_options_without_annotations_are_istios_defaults() -> None:
    found, warnings = options({}, {}, "shop", SETTINGS)
    assert warnings == ()
    assert (found.status_port, found.discovery_address) == (15020, "istiod.istio-system.svc:15012")
    assert (found.readiness.period_seconds, found.readiness.failure_threshold) == (15, 4)
    assert found.resources == {
        "limits": {"cpu": "2000m", "memory": "1024Mi"},
        "requests": {"cpu": "100m", "memory": "128Mi"},
    }
