"""Policies of security: see `authorizationpolicy` and its neighbours in `crds.validate`."""

from collections.abc import Mapping
from typing import Any

import msgspec

from crds.authorizationpolicy import AuthorizationPolicySpec, Condition, From, Operation, Source, To
from crds.manifests.cel import count, given, implies, is_one_of, lists, not_both, texts
from crds.manifests.constraint import Constraint, Rule, rules
from crds.manifests.patterns import (
    CIDR,
    HEADER_NAME,
    NOT_EMPTY,
    ONE_LINE,
    OPTIONAL_TOKEN,
    PATH,
    PORT_TEXT,
    TOKEN,
    items,
    text,
)
from crds.manifests.rules.attachment import ONE_ATTACHMENT
from crds.peerauthentication import PeerAuthenticationSpec
from crds.requestauthentication import JWTHeader, JWTRule, RequestAuthenticationSpec
from crds.shape import message_of
from crds.validate.authorizationpolicy import IDENTITY_SOURCES, PLAIN_KEYS

_CUSTOM = is_one_of("action", "CUSTOM")
_KEYS = "|".join(key.replace(".", r"\.") for key in sorted(PLAIN_KEYS))
_KEY = text(
    "key_of_conditions",
    rf"{_KEYS}|request\.headers\[:?{HEADER_NAME}\]"
    r"|(?:request\.auth\.claims|experimental\.envoy\.filters\.[^\[\]]+)(?:\[[^\[\]]+\])+",
)
_HTTP_URL = text("URL_without_user", r"[hH][tT][tT][pP][sS]?://[!\"$->A-~]+(?:[/?#][!-~]*)?")
_NAMES = {field.attribute: field.name for field in message_of(Source).fields.values()}
_IDENTITIES = tuple(_NAMES[attribute] for attribute in IDENTITY_SOURCES)
_ACCOUNT = items(text("account_or_namespace_and_account", "[^*/]+(?:/[^*/]*)?|/[^*/]*"))


def _without(sources: tuple[str, ...]) -> Rule:
    """Two rules of this kind are cheaper than one: each may cost only so much."""
    held = " || ".join(f"(has(each.source.{name}) && size(each.source.{name}) > 0)" for name in sources)
    return Rule(
        f"!{_CUSTOM} || !has(self.rules) || self.rules.all(rule, !has(rule.from) || rule.from.all(each, !({held})))",
        f"CUSTOM does not support conditions on identity: remove {', '.join(sources)}",
        "DRG0311",
        ".rules",
    )


def _all_items(message: type[msgspec.Struct], keywords: dict[str, Any]) -> dict[str, Any]:
    return {name: items(keywords) for name in message_of(message).fields}


CONSTRAINTS: Mapping[type[msgspec.Struct], Constraint] = {
    AuthorizationPolicySpec: Constraint(
        rules=(
            ONE_ATTACHMENT,
            Rule(
                implies(_CUSTOM, "(has(self.provider) && has(self.provider.name) && self.provider.name != '')"),
                "CUSTOM needs a provider: name one of the mesh's extensionProviders in provider.name",
                "DRG0316",
                ".provider.name",
            ),
            Rule(
                implies(given("provider"), _CUSTOM),
                "a provider has its place with action CUSTOM only: remove it",
                "DRG0311",
                ".provider",
            ),
            Rule(
                implies(is_one_of("action", "CUSTOM", "DENY"), lists("rules")),
                "CUSTOM and DENY need rules: an empty rule, {}, is about every request",
                "DRG0308",
                ".rules",
            ),
            _without(tuple(name for name in _IDENTITIES if not name.startswith("not"))),
            _without(tuple(name for name in _IDENTITIES if name.startswith("not"))),
            Rule(
                f"!{_CUSTOM} || !has(self.rules) || self.rules.all(rule, !has(rule.when) || rule.when.all(each,"
                " !(each.key in ['source.namespace', 'source.serviceAccount', 'source.principal'])"
                " && !each.key.startsWith('request.auth.')))",
                "CUSTOM does not support conditions on identity and on tokens",
                "DRG0311",
                ".rules",
            ),
        )
    ),
    From: Constraint(required=("source",)),
    To: Constraint(required=("operation",)),
    Source: Constraint(
        whole={"minProperties": 1},
        rules=(
            Rule(
                not_both(
                    lists("serviceAccounts", "notServiceAccounts"),
                    lists("principals", "notPrincipals", "namespaces", "notNamespaces"),
                ),
                "serviceAccounts exclude principals and namespaces: a service account names its namespace",
                "DRG0311",
            ),
        ),
        fields={
            **_all_items(Source, NOT_EMPTY),
            **dict.fromkeys(("ipBlocks", "notIpBlocks", "remoteIpBlocks", "notRemoteIpBlocks"), items(CIDR)),
            **dict.fromkeys(("serviceAccounts", "notServiceAccounts"), _ACCOUNT),
        },
    ),
    Operation: Constraint(
        whole={"minProperties": 1},
        fields={
            **_all_items(Operation, NOT_EMPTY),
            **dict.fromkeys(("ports", "notPorts"), items(PORT_TEXT)),
            **dict.fromkeys(("paths", "notPaths"), items(PATH)),
        },
    ),
    Condition: Constraint(
        rules=(
            Rule(
                lists("values", "notValues"), "the condition compares with nothing: add values or notValues", "DRG0308"
            ),
        ),
        fields={"key": _KEY, "values": items(NOT_EMPTY), "notValues": items(NOT_EMPTY)},
    ),
    PeerAuthenticationSpec: Constraint(
        rules=(
            Rule(
                f"!{lists('portLevelMtls')} || (has(self.selector) && has(self.selector.matchLabels)"
                " && size(self.selector.matchLabels) > 0)",
                "settings of ports need the workloads that have them: add selector.matchLabels",
                "DRG0316",
                ".selector",
            ),
        ),
        fields={
            "portLevelMtls": rules(
                Rule("self.all(port, int(port) >= 1 && int(port) <= 65535)", "ports go from 1 to 65535", "DRG0302")
            )
        },
    ),
    RequestAuthenticationSpec: Constraint(rules=(ONE_ATTACHMENT,)),
    JWTRule: Constraint(
        rules=(
            Rule(
                f"{count(given('jwksUri'), given('jwks_uri'), texts('jwks'))} <= 1",
                "jwksUri and jwks exclude each other: keep one of them",
                "DRG0307",
            ),
        ),
        fields={
            "jwksUri": _HTTP_URL,
            "jwks_uri": _HTTP_URL,
            "audiences": items(NOT_EMPTY),
            "fromParams": items(NOT_EMPTY),
            "fromCookies": items(NOT_EMPTY),
            "spaceDelimitedClaims": items(NOT_EMPTY),
            "outputPayloadToHeader": OPTIONAL_TOKEN,
        },
    ),
    JWTHeader: Constraint(fields={"name": TOKEN, "prefix": ONE_LINE}),
}
