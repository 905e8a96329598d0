"""Names that may complete a handshake: never more than identity rules allow, never fewer than all rules let in."""

from __future__ import annotations

import re
from typing import Any

import pytest
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from hypothesis import given
from hypothesis import strategies as st

from crds.decode import decode
from translators.complements import Name, complement
from translators.peer_names import PeerNames, admits_unidentified, peer_names
from translators.trust_domains import TrustDomains

DOMAINS = TrustDomains("cluster.local", ("old.example",))
CLIENT = "spiffe://cluster.local/ns/shop/sa/client"
OTHER = "spiffe://cluster.local/ns/shop/sa/other"
FAR = "spiffe://cluster.local/ns/far/sa/client"
STRANGER = "spiffe://elsewhere/ns/shop/sa/client"

names = st.lists(st.builds(Name, st.text("ab/", max_size=4), st.booleans()), max_size=4)


@given(names, st.text("abc/", max_size=6))
def test_complement_matches_exactly_what_no_name_covers(listed: list[Name], text: str) -> None:
    expression = complement(listed)
    covered = any(name.covers(Name(text)) for name in listed)
    assert (expression is not None and re.fullmatch(expression, text) is not None) is not covered


def test_complement_escapes_what_a_class_or_an_expression_would_read() -> None:
    expression = complement([Name("a.b"), Name("]x"), Name("^y"), Name("-z")])
    assert expression is not None
    for text in ("a.b", "]x", "^y", "-z"):
        assert re.fullmatch(expression, text) is None
    assert re.fullmatch(expression, "axb")


def policies(*specs: dict[str, Any]) -> list[Any]:
    return [
        decode(
            {
                "apiVersion": "security.istio.io/v1",
                "kind": "AuthorizationPolicy",
                "metadata": {"name": f"p{i}", "namespace": "shop"},
                "spec": spec,
            }
        )
        for i, spec in enumerate(specs)
    ]


def admits(listed: PeerNames, name: str) -> bool:
    return any(_matches(entry.matcher, name) for entry in listed)


def _matches(matcher: StringMatcher | None, name: str) -> bool:
    assert matcher is not None
    if matcher.exact is not None:
        return matcher.exact == name
    if matcher.prefix is not None:
        return name.startswith(matcher.prefix)
    assert matcher.safe_regex is not None
    return re.fullmatch(matcher.safe_regex.regex, name) is not None


@pytest.mark.parametrize(
    ("specs", "admitted"),
    [
        pytest.param([], True, id="no policy"),
        pytest.param([{}], False, id="allow nothing"),
        pytest.param([{"rules": [{}]}], True, id="allow all"),
        pytest.param([{"rules": [{"from": [{"source": {"namespaces": ["shop"]}}]}]}], False, id="allow a namespace"),
        pytest.param([{"rules": [{"from": [{"source": {"notNamespaces": ["shop"]}}]}]}], True, id="allow all but one"),
        pytest.param([{"rules": [{"from": [{"source": {"ipBlocks": ["10.0.0.0/8"]}}]}]}], True, id="RBAC must decide"),
        pytest.param([{"rules": [{"to": [{"operation": {"ports": ["1"]}}]}]}], False, id="allow another port"),
        pytest.param([{"rules": [{"to": [{"operation": {"paths": ["/"]}}]}]}], False, id="allow requests"),
        pytest.param([{"action": "DENY", "rules": [{}]}], False, id="deny all"),
        pytest.param(
            [{"action": "DENY", "rules": [{"from": [{"source": {"namespaces": ["shop"]}}]}]}],
            True,
            id="deny a namespace",
        ),
        pytest.param(
            [{"action": "DENY", "rules": [{"from": [{"source": {"notNamespaces": ["shop"]}}]}]}],
            False,
            id="deny all but a namespace",
        ),
        pytest.param(
            [{"action": "DENY", "rules": [{"from": [{"source": {"notIpBlocks": ["10.0.0.0/8"]}}]}]}],
            True,
            id="RBAC must deny",
        ),
        pytest.param(
            [{"action": "DENY", "rules": [{"to": [{"operation": {"ports": ["1"]}}]}]}], True, id="deny another port"
        ),
        pytest.param([{"action": "AUDIT", "rules": [{}]}], True, id="audit decides nothing"),
    ],
)
def test_whether_a_peer_without_a_certificate_may_connect(specs: list[dict[str, Any]], admitted: bool) -> None:
    assert admits_unidentified(policies(*specs), 9000) is admitted


def source(**fields: list[str]) -> dict[str, Any]:
    return {"from": [{"source": fields}]}


@pytest.mark.parametrize(
    ("specs", "admitted", "refused"),
    [
        pytest.param([], [CLIENT, OTHER, FAR], [STRANGER], id="no policy: the mesh"),
        pytest.param([{}], [], [CLIENT, OTHER, FAR], id="allow nothing"),
        pytest.param([{"rules": [{}]}], [CLIENT, FAR], [STRANGER], id="allow all"),
        pytest.param(
            [{"rules": [source(principals=["cluster.local/ns/shop/sa/client"])]}],
            [CLIENT, "spiffe://old.example/ns/shop/sa/client"],
            [OTHER, FAR, STRANGER],
            id="allow a principal, under every alias of the trust domain",
        ),
        pytest.param([{"rules": [source(namespaces=["shop"])]}], [CLIENT, OTHER], [FAR], id="allow a namespace"),
        pytest.param(
            [{"rules": [source(serviceAccounts=["client"])]}],
            [CLIENT],
            [OTHER, FAR],
            id="allow an account of the own ns",
        ),
        pytest.param(
            [{"action": "DENY", "rules": [source(principals=["cluster.local/ns/shop/sa/client"])]}],
            [OTHER, FAR],
            [CLIENT, STRANGER],
            id="deny a principal",
        ),
        pytest.param(
            [{"action": "DENY", "rules": [source(namespaces=["shop"])]}], [FAR], [CLIENT, OTHER], id="deny a namespace"
        ),
        pytest.param(
            [
                {"rules": [source(namespaces=["shop"])]},
                {"action": "DENY", "rules": [source(principals=["cluster.local/ns/shop/sa/client"])]},
            ],
            [OTHER],
            [CLIENT, FAR],
            id="deny cuts a hole into allow",
        ),
        pytest.param(
            [{"rules": [source(namespaces=["shop"], principals=["cluster.local/ns/shop/sa/client"])]}],
            [CLIENT],
            [OTHER, FAR],
            id="fields of a source are intersected",
        ),
        pytest.param(
            [{"action": "DENY", "rules": [source(notNamespaces=["shop"])]}],
            [CLIENT, OTHER],
            [FAR, STRANGER],
            id="deny all but a namespace",
        ),
        pytest.param(
            [{"action": "DENY", "rules": [source(notPrincipals=["cluster.local/ns/shop/sa/client", "*/x"])]}],
            [CLIENT, OTHER, FAR],
            [STRANGER],
            id="a deny that names cannot tell is left to RBAC",
        ),
        pytest.param(
            [
                {
                    "action": "DENY",
                    "rules": [source(namespaces=["shop"], notPrincipals=[CLIENT.removeprefix("spiffe://")])],
                }
            ],
            [CLIENT, FAR],
            [OTHER],
            id="deny a namespace but for one of it",
        ),
        pytest.param(
            [
                {"action": "DENY", "rules": [source(notNamespaces=["shop"])]},
                {"action": "DENY", "rules": [source(notPrincipals=["cluster.local/ns/shop/sa/client"])]},
            ],
            [CLIENT],
            [OTHER, FAR],
            id="two denials leave what both leave",
        ),
        pytest.param(
            [{"action": "DENY", "rules": [source(notPrincipals=["*"])]}],
            [CLIENT, FAR],
            [STRANGER],
            id="deny those without a name",
        ),
        pytest.param(
            [{"rules": [source(notNamespaces=["far"])]}],
            [CLIENT, OTHER],
            [FAR, STRANGER],
            id="allow all but a namespace",
        ),
        pytest.param(
            [{"rules": [source(notNamespaces=["far"]), source(principals=[FAR.removeprefix("spiffe://")])]}],
            [CLIENT, FAR],
            ["spiffe://cluster.local/ns/far/sa/other"],
            id="what one rule leaves out another lets in",
        ),
        pytest.param(
            [{"rules": [source(namespaces=["shop"], notPrincipals=["cluster.local/ns/shop/sa/client"])]}],
            [OTHER],
            [CLIENT, FAR],
            id="allow a namespace but for one of it",
        ),
        pytest.param(
            [{"rules": [source(ipBlocks=["10.0.0.0/8"])]}], [CLIENT, FAR], [STRANGER], id="addresses are left to RBAC"
        ),
        pytest.param(
            [{"action": "DENY", "rules": [source(ipBlocks=["10.0.0.0/8"])]}],
            [CLIENT, FAR],
            [STRANGER],
            id="a deny that may not match never refuses",
        ),
        pytest.param(
            [{"rules": [{**source(namespaces=["shop"]), "to": [{"operation": {"ports": ["9000"]}}]}]}],
            [CLIENT],
            [FAR],
            id="the port of the rule",
        ),
        pytest.param(
            [{"rules": [{**source(namespaces=["shop"]), "to": [{"operation": {"ports": ["9001"]}}]}]}],
            [],
            [CLIENT, FAR],
            id="another port",
        ),
        pytest.param(
            [{"rules": [{**source(namespaces=["shop"]), "to": [{"operation": {"methods": ["GET"]}}]}]}],
            [],
            [CLIENT, FAR],
            id="an allow rule about requests never matches bytes",
        ),
        pytest.param(
            [
                {
                    "action": "DENY",
                    "rules": [{**source(namespaces=["far"]), "to": [{"operation": {"methods": ["GET"]}}]}],
                }
            ],
            [CLIENT],
            [FAR],
            id="a deny rule about requests denies by the rest of it",
        ),
    ],
)
def test_who_may_connect(specs: list[dict[str, Any]], admitted: list[str], refused: list[str]) -> None:
    listed = peer_names(policies(*specs), 9000, DOMAINS)
    assert listed, "an empty list would let everybody in"
    assert [name for name in admitted if not admits(listed, name)] == []
    assert [name for name in refused if admits(listed, name)] == []
