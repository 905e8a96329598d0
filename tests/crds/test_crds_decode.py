"""Strict decoding: what is accepted, what is refused, and where the report points."""

import json
from typing import Any

import msgspec
import pytest
import yaml
from random_documents import document, places, seeded

from crds import Invalid, decode, decode_json, encode, kind_of
from crds.duration import Duration
from crds.registry import ISTIO_KINDS
from crds.shape import message_of
from crds.virtualservice import VirtualService


def load(text: str) -> Any:
    return yaml.safe_load(text)


def findings(doc: Any) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as caught:
        decode(doc)
    return [(problem.code, problem.path) for problem in caught.value.problems]


REVIEWS = """
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {name: reviews, namespace: shop, labels: {team: a}}
spec:
  hosts: [reviews]
  http:
  - match:
    - uri: {prefix: /a}
      headers: {x-user: {exact: jason}, x-any: {}}
    timeout: 1.5s
    route:
    - destination: {host: reviews, subset: v2, port: {number: 9080}}
      weight: 90
    - destination: {host: reviews}
      weight: 10
  - directResponse: {status: 503, body: {bytes: aGVsbG8=}}
"""


def test_a_virtual_service_becomes_typed_values() -> None:
    obj = decode(load(REVIEWS))
    assert isinstance(obj, VirtualService)
    assert (obj.kind, *obj.key) == ("VirtualService", "VirtualService", "shop", "reviews")
    first, second = obj.spec.http
    assert first.timeout == Duration(seconds=1.5)
    assert first.match[0].headers["x-user"].exact == "jason"
    assert first.match[0].headers["x-any"].exact is None
    assert [route.weight for route in first.route] == [90, 10]
    assert first.route[0].destination.port is not None
    assert first.route[0].destination.port.number == 9080
    assert second.direct_response is not None
    assert second.direct_response.body is not None
    assert second.direct_response.body.bytes_ == b"hello"
    assert second.retries is None


def test_objects_are_frozen() -> None:
    obj = decode(load(REVIEWS))
    with pytest.raises(AttributeError):
        obj.metadata.name = "other"  # type: ignore[misc]


def vs(http: str) -> Any:
    head = "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a}, spec: {hosts: [a], http: "
    return load(f"{head}{http}}}}}")


@pytest.mark.parametrize(
    ("doc", "expected"),
    [
        pytest.param(
            vs("[{route: [{destination: {host: a}}, {destinaton: {host: b}, destination: {host: b}}]}]"),
            [("DRG0101", "spec.http[0].route[1].destinaton")],
            id="misspelt field",
        ),
        pytest.param(
            vs("[{route: [{weight: 1}]}]"),
            [("DRG0103", "spec.http[0].route[0].destination")],
            id="missing required field",
        ),
        pytest.param(
            vs("[{match: [{headers: {x: {exakt: a}}}], route: [{destination: {host: a}, weight: '3'}]}]"),
            [("DRG0101", "spec.http[0].match[0].headers[x].exakt"), ("DRG0102", "spec.http[0].route[0].weight")],
            id="two at once",
        ),
        pytest.param(vs("[{timeout: 5}]"), [("DRG0108", "spec.http[0].timeout")], id="duration without unit"),
        pytest.param(vs("[{timeout: 5 seconds}]"), [("DRG0108", "spec.http[0].timeout")], id="duration in words"),
        pytest.param(
            vs("[{corsPolicy: {unmatchedPreflights: forward}}]"),
            [("DRG0107", "spec.http[0].corsPolicy.unmatchedPreflights")],
            id="enumeration in lower case",
        ),
        pytest.param(vs("[{mirrorPercent: -1}]"), [("DRG0106", "spec.http[0].mirrorPercent")], id="out of bounds"),
        pytest.param(vs("{route: []}"), [("DRG0102", "spec.http")], id="object for a list"),
        pytest.param(vs("[text]"), [("DRG0102", "spec.http[0]")], id="text for an object"),
        pytest.param(
            vs("[{match: [{sourceLabels: [a]}]}]"),
            [("DRG0102", "spec.http[0].match[0].sourceLabels")],
            id="list for a map",
        ),
        pytest.param(
            vs("[{headers: {request: {set: {x-debug: true}}}}]"),
            [("DRG0102", "spec.http[0].headers.request.set[x-debug]")],
            id="YAML boolean in a map of strings",
        ),
        pytest.param(
            vs("[{match: [{headers: {x-user: null}}]}]"),
            [("DRG0102", "spec.http[0].match[0].headers[x-user]")],
            id="null as map value is not dropped: it would match more",
        ),
        pytest.param(
            load("{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a}, specs: {}}"),
            [("DRG0101", "specs")],
            id="unknown top-level field",
        ),
        pytest.param(
            load("{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a, lables: {}}}"),
            [("DRG0101", "metadata.lables")],
            id="unknown metadata",
        ),
        pytest.param(
            load("{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {labels: {a: 1}}}"),
            [("DRG0102", "metadata.labels[a]"), ("DRG0103", "metadata.name")],
            id="metadata",
        ),
        pytest.param(
            load("{apiVersion: networking.istio.io/v2, kind: VirtualService, metadata: {name: a}}"),
            [("DRG0105", "apiVersion")],
            id="version not served",
        ),
        pytest.param(
            load("{apiVersion: networking.istio.io/v1, kind: VirtualServise, metadata: {name: a}}"),
            [("DRG0104", "kind")],
            id="misspelt kind",
        ),
        pytest.param(
            load("{apiVersion: security.istio.io/v1, kind: VirtualService, metadata: {name: a}}"),
            [("DRG0104", "kind")],
            id="kind of another group",
        ),
        pytest.param(
            load("{apiVersion: networking.istoi.io/v1, kind: VirtualService, metadata: {name: a}}"),
            [("DRG0104", "apiVersion")],
            id="misspelt group",
        ),
        pytest.param(load("{kind: VirtualService}"), [("DRG0100", "apiVersion")], id="no apiVersion"),
        pytest.param(load("{apiVersion: v1}"), [("DRG0100", "kind")], id="no kind"),
        pytest.param(
            load("{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: http}]}}"),
            [("DRG0102", "spec.ports[0].port")],
            id="Kubernetes kinds are typed too",
        ),
        pytest.param(
            load(
                "{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: a},"
                " spec: {portLevelMtls: {http: {mode: STRICT}}}}"
            ),
            [("DRG0102", "spec.portLevelMtls[http]")],
            id="map keyed by port",
        ),
    ],
)
def test_refused_with_code_and_path(doc: Any, expected: list[tuple[str, str]]) -> None:
    assert findings(doc) == expected


@pytest.mark.parametrize(
    ("doc", "remedy"),
    [
        (vs("[{rout: []}]"), "did you mean 'route'?"),
        (vs("[{corsPolicy: {unmatchedPreflights: Forward}}]"), "did you mean 'FORWARD'?"),
        (vs("[{name: 3}]"), "quote it: YAML reads the plain value as another type"),
        (vs("[{mirrorPercent: '3'}]"), "remove the quotes"),
        (vs("[{match: [{ignoreUriCase: 'yes'}]}]"), "write true or false without quotes"),
        (load("{apiVersion: networking.istio.io/v1, kind: Virtualservice}"), "did you mean VirtualService?"),
    ],
)
def test_the_remedy_says_what_to_write(doc: Any, remedy: str) -> None:
    with pytest.raises(Invalid) as caught:
        decode(doc)
    assert caught.value.problems[0].remedy == remedy


@pytest.mark.parametrize("kind", ISTIO_KINDS)
def test_each_kind_refuses_an_unknown_field_at_every_depth(kind: str) -> None:
    rnd = seeded(kind)
    shape = message_of(ISTIO_KINDS[kind]).fields["spec"].shape
    seen = 0
    for _ in range(10):
        doc = document(kind, rnd)
        messages = [("spec", doc["spec"])]
        messages += [
            (f"spec{path}", container[key])
            for path, container, inner, key in places(doc["spec"], shape)
            if type(inner).__name__ == "Message"
        ]
        for path, message in messages:
            message["zzUnknown"] = 1
            assert findings(doc) == [("DRG0101", f"{path}.zzUnknown")]
            del message["zzUnknown"]
            seen += 1
    assert seen >= 10


@pytest.mark.parametrize("kind", ISTIO_KINDS)
def test_round_trip(kind: str) -> None:
    rnd = seeded(kind)
    for fill in (0.0, 0.2, 0.5, 1.0):
        doc = document(kind, rnd, fill)
        obj = decode(doc)
        assert decode(encode(obj)) == obj
        assert decode_json(json.dumps(doc).encode()) == obj
        assert decode_json(msgspec.json.encode(encode(obj))) == obj


@pytest.mark.parametrize("kind", ISTIO_KINDS)
def test_every_field_written_is_a_field_kept(kind: str) -> None:
    doc = document(kind, seeded(kind), fill=1.0)
    assert json.loads(msgspec.json.encode(encode(decode(doc))["spec"])) == doc["spec"]


@pytest.mark.parametrize("kind", ISTIO_KINDS)
def test_the_report_finds_what_the_decoder_refuses(kind: str) -> None:
    """A wrong value anywhere: the decoder refuses it, and the report names that very place and no other."""
    rnd = seeded(kind)
    shape = message_of(ISTIO_KINDS[kind]).fields["spec"].shape
    for _ in range(30):
        doc = document(kind, rnd)
        candidates = [place for place in places(doc["spec"], shape) if "free" not in json.dumps(place[1][place[3]])]
        if not candidates:
            continue
        path, container, _, key = rnd.choice(candidates)
        container[key] = [[[]]]
        assert all(where.removeprefix(f"spec{path}") in ("", "[0]", "[0][0]") for _, where in findings(doc))


def test_status_and_managed_fields_pass_and_leave_no_trace() -> None:
    doc = load(REVIEWS)
    plain = decode(doc)
    doc["status"] = {"conditions": [{"type": "Reconciled"}], "anything": 1}
    doc["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    doc["metadata"]["creationTimestamp"] = None
    assert decode(doc) == plain


def test_nulls_of_fields_are_dropped_as_by_an_api_server() -> None:
    doc = load(REVIEWS)
    plain = decode(doc)
    doc["spec"]["tls"] = None
    doc["spec"]["http"][0]["headers"] = None
    doc["metadata"]["annotations"] = None
    assert decode(doc) == plain
    assert decode_json(json.dumps(doc).encode()) == plain


def test_free_form_fields_keep_their_nulls() -> None:
    value = {"typed_config": {"a": None, "b": [None]}}
    doc = {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "a"},
        "spec": {"targetRefs": None, "configPatches": [{"patch": {"operation": "MERGE", "value": value}}]},
    }
    assert decode(doc).spec.config_patches[0].patch.value == value  # type: ignore[union-attr]


def test_a_policy_without_spec_is_an_empty_policy() -> None:
    doc = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "deny-all"}}
    assert decode(doc) == decode({**doc, "spec": {}}) == decode({**doc, "spec": None})
    assert decode_json(json.dumps(doc).encode()) == decode(doc)


def test_yaml_reads_numeric_keys_as_numbers() -> None:
    doc = load(
        "{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: a}, spec: {"
        "selector: {matchLabels: {app: a}}, portLevelMtls: {8080: {mode: DISABLE}}}}"
    )
    assert set(decode(doc).spec.port_level_mtls) == {8080}  # type: ignore[union-attr]
    labels = {**doc, "metadata": {"name": "a", "labels": {8: "x", True: "y"}}}
    assert decode(labels).metadata.labels == {"8": "x", "true": "y"}


def test_namespaces() -> None:
    doc = load("{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: a}}")
    assert decode(doc).namespace == "default"
    assert decode(doc, default_namespace="shop").namespace == "shop"
    node = load("{apiVersion: v1, kind: Node, metadata: {name: a}}")
    assert decode(node, default_namespace="shop").key == ("Node", "", "a")


@pytest.mark.parametrize("kind", ISTIO_KINDS)
def test_every_served_version_decodes_to_the_same_object(kind: str) -> None:
    doc = document(kind, seeded(kind))
    versions = ISTIO_KINDS[kind].resource.versions
    objects = [decode({**doc, "apiVersion": ISTIO_KINDS[kind].resource.api_version(name)}) for name in versions]
    assert all(obj == objects[0] for obj in objects)


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("apps/v1", "Deployment"),
        ("gateway.networking.k8s.io/v1", "Gateway"),
        ("v1", "List"),
        ("serving.knative.dev/v1", "Service"),
        ("example.com/v1", "Telemetry"),
    ],
)
def test_kinds_of_others_are_ignored(api_version: str, kind: str) -> None:
    doc = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}}
    assert kind_of(doc) is None
    with pytest.raises(Invalid):
        decode(doc)


def test_kind_of_names_the_class() -> None:
    assert kind_of(load(REVIEWS)) is VirtualService


@pytest.mark.parametrize("data", [b"[]", b"{", b"1", b"\xff", b'{"apiVersion": 3}'])
def test_what_is_no_document_is_invalid(data: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        decode_json(data)
    assert caught.value.problems[0].code == "DRG0100"


@pytest.mark.parametrize("data", [b'{"kind": "\xf4"}', b'{"kind": 7, "a": "\xf4"}', b'{"a": ' + b"[" * 100_000, b"{"])
def test_bytes_that_are_no_json_are_one_problem(data: bytes) -> None:
    with pytest.raises(Invalid) as raised:
        decode_json(data)
    assert [found.code for found in raised.value.problems] == ["DRG0100"]
