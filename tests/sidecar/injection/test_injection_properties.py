"""Any pod: injecting twice is injecting once, nothing that the author wrote is lost, and containers start in order."""

import json
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from injected_proxy import SETTINGS, SHOP, container, injected, pod_of
from json_patch import patched

from dragoman.sidecar.injection import Injected, inject
from dragoman.sidecar.injection.reversal import original

_HANDLERS = st.sampled_from(
    [
        {"httpGet": {"path": "/x", "port": 80}},
        {"httpGet": {"path": "/x", "port": "http", "scheme": "HTTPS", "httpHeaders": [{"name": "Host", "value": "a"}]}},
        {"httpGet": {"host": "elsewhere", "port": 80}},
        {"tcpSocket": {"port": 81}},
        {"grpc": {"port": 82}},
        {"exec": {"command": ["true"]}},
    ]
)
_PROBES = st.builds(
    lambda handler, numbers: {**handler, **numbers}, _HANDLERS, st.sampled_from([{}, {"timeoutSeconds": 3}])
)
_CONTAINERS = st.fixed_dictionaries(
    {"image": st.just("i")},
    optional={
        "readinessProbe": _PROBES,
        "livenessProbe": _PROBES,
        "lifecycle": st.fixed_dictionaries({}, optional={"preStop": _HANDLERS}),
        "ports": st.just([{"name": "http", "containerPort": 80}]),
    },
)
_AUTHORS_PROXY = st.sampled_from([None, {"name": "istio-proxy", "image": "auto", "env": [{"name": "A", "value": "1"}]}])
_ANNOTATIONS = st.fixed_dictionaries(
    {},
    optional={
        "sidecar.istio.io/nativeSidecar": st.sampled_from(["true", "false"]),
        "prometheus.io/scrape": st.sampled_from(["true", "false"]),
        "prometheus.io/port": st.just("9100"),
        "prometheus.istio.io/merge-metrics": st.sampled_from(["true", "false"]),
        "sidecar.istio.io/interceptionMode": st.sampled_from(["REDIRECT", "NONE"]),
        "sidecar.istio.io/rewriteAppHTTPProbers": st.sampled_from(["true", "false"]),
        "proxy.istio.io/config": st.just("holdApplicationUntilProxyStarts: true"),
    },
)


@st.composite
def pods(draw: st.DrawFn) -> dict[str, Any]:
    apps = [{"name": f"app-{i}", **draw(_CONTAINERS)} for i in range(draw(st.integers(1, 2)))]
    inits = [{"name": f"init-{i}", "image": "i"} for i in range(draw(st.integers(0, 2)))]
    author = draw(_AUTHORS_PROXY)
    spec: dict[str, Any] = {"initContainers": inits} if inits else {}
    return pod_of(*apps, *([author] if author else []), annotations=draw(_ANNOTATIONS), **spec)


@given(pods(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_injecting_twice_is_injecting_once(pod: dict[str, Any], cni: bool) -> None:
    chosen = replace(SETTINGS, cni=cni)
    made = injected(pod, chosen)
    assert patched(pod, made.patch) == made.pod
    other = replace(chosen, drain_secret=b"of another replica")
    again = inject(made.pod, namespace=SHOP, settings=other)
    assert isinstance(again, Injected)
    assert again.pod == made.pod
    assert again.patch == []
    assert json.dumps(again.pod) == json.dumps(made.pod)  # and in the same order: files do not change for nothing


@given(pods())
@settings(max_examples=60, deadline=None)
def test_what_the_author_wrote_can_be_told(pod: dict[str, Any]) -> None:
    back = original(injected(pod).pod)
    containers = {each["name"]: each for each in back["spec"]["containers"]}
    assert containers == {each["name"]: each for each in pod["spec"]["containers"]}
    assert back["spec"].get("initContainers") == pod["spec"].get("initContainers")
    assert pod["metadata"]["annotations"].items() <= back["metadata"]["annotations"].items()
    assert pod["metadata"]["labels"].items() <= back["metadata"]["labels"].items()


@given(pods())
@settings(max_examples=60, deadline=None)
def test_who_starts_before_whom(pod: dict[str, Any]) -> None:
    made = injected(pod).pod
    init = [each["name"] for each in made["spec"].get("initContainers", ())]
    main = [each["name"] for each in made["spec"]["containers"]]
    native = pod["metadata"]["annotations"].get("sidecar.istio.io/nativeSidecar") != "false"
    captured = pod["metadata"]["annotations"].get("sidecar.istio.io/interceptionMode") != "NONE"
    authors = [each["name"] for each in pod["spec"].get("initContainers", ())]
    if native:
        assert init == [*(["istio-init"] if captured else []), "istio-proxy", *authors]
        assert container(made)["restartPolicy"] == "Always"
        assert "istio-proxy" not in main
    else:
        assert init == [*authors, *(["istio-init"] if captured else [])]
        held = "proxy.istio.io/config" in pod["metadata"]["annotations"]
        assert main.index("istio-proxy") == (0 if held else len(main) - 1)


def test_another_webhook_that_adds_a_container_in_between_gets_its_probes_rewritten() -> None:
    made = dict(injected(pod_of()).pod)
    added = {"name": "added", "readinessProbe": {"httpGet": {"path": "/", "port": 81}}}
    made["spec"] = {**made["spec"], "containers": [*made["spec"]["containers"], added]}
    again = injected(made).pod
    assert container(again, "added")["readinessProbe"]["httpGet"] == {"path": "/app-health/added/readyz", "port": 15020}
    assert len(again["spec"]["initContainers"]) == 2


def test_drain_paths_differ_by_pod_and_secret_and_tell_nothing() -> None:
    def path(pod: dict[str, Any], secret: bytes) -> str:
        made = injected(pod, replace(SETTINGS, drain_secret=secret))
        return str(container(made.pod)["lifecycle"]["preStop"]["httpGet"]["path"])

    other = pod_of()
    other["metadata"]["generateName"] = "api-1-"
    assert len({path(pod_of(), b"a"), path(pod_of(), b"b"), path(other, b"a")}) == 3
    assert path(pod_of(), b"a") == path(pod_of(), b"a")
