"""The tables of honoured fields: complete, without stale lines, and never silent."""

import pytest
import yaml
from random_documents import document, seeded

from crds import decode
from crds.consequences import consequences
from crds.fields import leaf_paths
from crds.leaves import set_leaves
from crds.registry import ISTIO_KINDS
from crds.shape import message_of
from crds.support import SUPPORTED, gaps, is_below, unsupported


def test_supported_and_gaps_are_all_fields() -> None:
    for kind, missing in gaps().items():
        honoured = {path for path in leaf_paths(kind) if kind in SUPPORTED and SUPPORTED[kind].entry(path)}
        assert honoured.isdisjoint(missing)
        assert honoured | set(missing) == set(leaf_paths(kind))
        print(f"{kind}: {len(honoured)} honoured, {len(missing)} without effect: {', '.join(missing)}")  # noqa: T201


@pytest.mark.parametrize("kind", SUPPORTED)
def test_no_line_of_a_table_is_stale(kind: str) -> None:
    leaves = leaf_paths(kind)
    for field in SUPPORTED[kind].entries:
        assert any(path == field or path.startswith(f"{field}.") for path in leaves), field


@pytest.mark.parametrize("kind", SUPPORTED)
def test_values_named_by_a_table_are_values_of_the_field(kind: str) -> None:
    for field, entry in SUPPORTED[kind].entries.items():
        if entry.values and (known := leaf_paths(kind)[field].enum):
            assert set(entry.values) <= set(known)


@pytest.mark.parametrize("kind", ISTIO_KINDS)
def test_each_field_is_honoured_or_warned_about(kind: str) -> None:
    """Every leaf set in a full object either stands in the table or has a warning with its path."""
    obj = decode(document(kind, seeded(kind), fill=1.0))
    shape = message_of(ISTIO_KINDS[kind]).fields["spec"].shape
    leaves = list(set_leaves(obj.spec, shape))  # type: ignore[union-attr]
    assert {leaf.field for leaf in leaves} == set(leaf_paths(kind)), "the random document sets every field"
    warned = {problem.path for problem in unsupported(obj)}
    told = tuple(problem.path for problem in consequences(obj))  # type: ignore[arg-type]
    if kind not in SUPPORTED:
        assert warned == {"kind"}
        return
    paths = {f"spec.{leaf.path}" for leaf in leaves}
    below = {path for path in paths if is_below(path, told)}
    honoured = {f"spec.{leaf.path}" for leaf in leaves if SUPPORTED[kind].honours(leaf)} - below
    assert honoured | below | (warned - set(told)) == paths
    assert honoured.isdisjoint(warned)


def warnings(kind: str, spec: str) -> list[tuple[str, str]]:
    head = {"apiVersion": ISTIO_KINDS[kind].resource.api_version(), "kind": kind, "metadata": {"name": "a"}}
    return [(problem.code, problem.path) for problem in unsupported(decode({**head, "spec": yaml.safe_load(spec)}))]


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        ("ProxyConfig", "{concurrency: 1}", []),
        (
            "VirtualService",
            "{hosts: [a], http: [{}, {fault: {abort: {http2Error: a, httpStatus: 500}}}]}",
            [("DRG0202", "spec.http[1].fault.abort.http2Error")],
        ),
        (
            "DestinationRule",
            "{host: a, subsets: [{name: v, trafficPolicy: {retryBudget: {budgetInterval: 20s}}}]}",
            [("DRG0202", "spec.subsets[0].trafficPolicy.retryBudget.budgetInterval")],
        ),
        ("AuthorizationPolicy", "{action: AUDIT, rules: [{}]}", []),
        (
            "AuthorizationPolicy",
            "{targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: a}], rules: [{}]}",
            [],
        ),
        ("RequestAuthentication", "{targetRef: {kind: Gateway, group: gateway.networking.k8s.io, name: a}}", []),
        (
            "AuthorizationPolicy",
            "{targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: a}, {kind: Service, name: b}]}",
            [("DRG0202", "spec.targetRefs[1]")],
        ),
        (
            "AuthorizationPolicy",
            (
                "{targetRefs: [{kind: Service, name: b}, {kind: ServiceEntry, group: networking.istio.io, name: c},"
                " {kind: GatewayClass, group: gateway.networking.k8s.io, name: istio-waypoint}]}"
            ),
            [("DRG0206", "spec.targetRefs[0]"), ("DRG0206", "spec.targetRefs[1]"), ("DRG0206", "spec.targetRefs[2]")],
        ),
        ("RequestAuthentication", "{targetRef: {kind: Service, name: b}}", [("DRG0206", "spec.targetRef")]),
        (
            "AuthorizationPolicy",
            "{rules: [{when: [{key: 'request.headers[x]', values: [a]}, {key: request.auth.principal, values: [a]}]}]}",
            [],
        ),
        (
            "VirtualService",
            "{hosts: [a], http: [{match: [{headers: {'@request.auth.claims.sub': {exact: a}, x: {exact: b}}}]}]}",
            [("DRG0204", "spec.http[0].match[0].headers[@request.auth.claims.sub].exact")],
        ),
        ("PeerAuthentication", "{mtls: {mode: STRICT}}", []),
        ("Sidecar", "{egress: [{port: {number: 80}, hosts: ['*/*']}]}", [("DRG0202", "spec.egress[0].port.number")]),
        (
            "VirtualService",
            "{hosts: [a], http: [{route: [{destination: {host: a}}]}, {delegate: {name: b, namespace: c}}]}",
            [("DRG0206", "spec.http[1].delegate")],
        ),
        ("VirtualService", "{http: [{route: [{destination: {host: a}}]}]}", [("DRG0206", "spec.hosts")]),
        (
            "VirtualService",
            "{hosts: [a], tls: [{match: [{sniHosts: [a], sourceLabels: {a: b}}]}], tcp: [{route: []}]}",
            [("DRG0202", "spec.tls[0]"), ("DRG0202", "spec.tcp[0]")],
        ),
        (
            "VirtualService",
            (
                "{hosts: [a], gateways: [g, mesh],"
                " tcp: [{match: [{port: 1}]}, {match: [{gateways: [g], sourceSubnet: a}]}]}"
            ),
            [("DRG0205", "spec.tcp[0]"), ("DRG0202", "spec.tcp[1].match[0].sourceSubnet")],
        ),
        (
            "VirtualService",
            "{hosts: [a], gateways: [g, mesh], tcp: [{match: [{gateways: [mesh]}, {gateways: [mesh]}]}]}",
            [("DRG0202", "spec.tcp[0]")],
        ),
        ("VirtualService", "{hosts: [a], gateways: [g], tls: [{match: [{sniHosts: [a]}]}], tcp: [{}]}", []),
        (
            "DestinationRule",
            (
                "{host: a, trafficPolicy: {tls: {mode: SIMPLE, credentialName: s},"
                " portLevelSettings: [{port: {number: 1}, tls: {mode: MUTUAL, credentialName: s}}]},"
                " subsets: [{name: v, trafficPolicy: {tls: {mode: SIMPLE, credentialName: s}}}]}"
            ),
            [
                ("DRG0409", "spec.trafficPolicy.tls.credentialName"),
                ("DRG0409", "spec.trafficPolicy.portLevelSettings[0].tls.credentialName"),
                ("DRG0409", "spec.subsets[0].trafficPolicy.tls.credentialName"),
            ],
        ),
        (
            "DestinationRule",
            "{host: a, trafficPolicy: {tls: {mode: DISABLE, credentialName: s}}}",
            [("DRG0406", "spec.trafficPolicy.tls.credentialName")],
        ),
        (
            "DestinationRule",
            (
                "{host: a, workloadSelector: {matchLabels: {a: b}},"
                " trafficPolicy: {tls: {mode: SIMPLE, credentialName: s}}}"
            ),
            [],
        ),
        (
            "DestinationRule",
            "{host: a, trafficPolicy: {tls: {mode: SIMPLE, credentialName: 'configmap://a/b'}}}",
            [],
        ),
    ],
)
def test_warnings(kind: str, spec: str, expected: list[tuple[str, str]]) -> None:
    assert warnings(kind, spec) == expected


def test_kubernetes_objects_have_nothing_unsupported() -> None:
    assert unsupported(decode({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}})) == ()
