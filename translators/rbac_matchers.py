"""Values of an AuthorizationPolicy → matchers (Istio: pilot/pkg/security/authz/matcher).

A value is exact, `prefix*`, `*suffix`, or `*` for "anything, but there".
"""

from __future__ import annotations

import ipaddress
import re

from envoy_data_plane.envoy.config.core.v3 import CidrRange, TypedExtensionConfig
from envoy_data_plane.envoy.config.rbac.v3 import Permission, Principal, PrincipalAuthenticated
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.path.match.uri_template.v3 import UriTemplateMatchConfig
from envoy_data_plane.envoy.type.matcher.v3 import PathMatcher, RegexMatcher, StringMatcher

from dragoman.codec import pack

SPIFFE = "spiffe://"


def string_matcher(value: str, prefix: str = "") -> StringMatcher:
    """One value, with `prefix` before what it spells out."""
    if value == "*":
        return StringMatcher(safe_regex=RegexMatcher(regex=".+"))
    if value.startswith("*"):
        return StringMatcher(suffix=value[1:])
    if value.endswith("*"):
        return StringMatcher(prefix=prefix + value[:-1])
    return StringMatcher(exact=prefix + value)


def regex(pattern: str) -> StringMatcher:
    return StringMatcher(safe_regex=RegexMatcher(regex=pattern))


def _glob(value: str, anything: str) -> str:
    return anything.join(re.escape(part) for part in value.split("*"))


def principal(name: StringMatcher) -> Principal:
    return Principal(authenticated=PrincipalAuthenticated(principal_name=name))


def namespace(value: str) -> StringMatcher:
    return regex(f".*/ns/{_glob(value, '.*')}/.*")


def service_account(value: str, policy_namespace: str) -> StringMatcher:
    """`namespace/account`, or an account of the policy's own namespace."""
    scope, slash, account = value.rpartition("/")
    return regex(
        f"spiffe://.+/ns/{re.escape(scope if slash else policy_namespace)}/(.+/|)sa/{re.escape(account)}(/.+)?"
    )


def trust_domain(value: str) -> StringMatcher:
    return regex(f"spiffe://{_glob(value, '[^/]*')}/.*")


def cidr(value: str) -> CidrRange:
    """An address or a block; host bits are cleared, as Envoy would do."""
    network = ipaddress.ip_network(value, strict=False)
    return CidrRange(address_prefix=str(network.network_address), prefix_len=network.prefixlen)


def header(name: str, value: str) -> HeaderMatcher:
    if value == "*":
        return HeaderMatcher(name=name, present_match=True)
    return HeaderMatcher(name=name, string_match=string_matcher(value))


def host(value: str) -> HeaderMatcher:
    """The authority, in any case, with or without a port or the root's dot: `a.b`, `A.b:80` and `a.b.` are one host."""
    pattern = ".+" if value == "*" else _glob(value, ".*")
    return HeaderMatcher(name=":authority", string_match=regex(f"(?i){pattern}\\.?(:[0-9]+)?"))


def path(value: str) -> Permission:
    """A path without its query; `{*}` and `{**}` stand for one and for any number of segments."""
    if "{*}" in value or "{**}" in value:
        template = value.replace("{**}", "**").replace("{*}", "*")
        return Permission(
            uri_template=TypedExtensionConfig(
                name="uri-template", typed_config=pack(UriTemplateMatchConfig(path_template=template))
            )
        )
    return Permission(url_path=PathMatcher(path=string_matcher(value)))
