"""Values of an AuthorizationPolicy → matchers (Istio: pilot/pkg/security/authz/matcher).

A value is exact, `prefix*`, `*suffix`, or `*` for "anything, but there".
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence

from envoy_data_plane.envoy.config.core.v3 import CidrRange, TypedExtensionConfig
from envoy_data_plane.envoy.config.rbac.v3 import (
    Permission,
    Principal,
    PrincipalAuthenticated,
    PrincipalSet,
    SourcedMetadata,
)
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.path.match.uri_template.v3 import UriTemplateMatchConfig
from envoy_data_plane.envoy.type.matcher.v3 import (
    ListMatcher,
    MetadataMatcher,
    MetadataMatcherPathSegment,
    PathMatcher,
    RegexMatcher,
    StringMatcher,
    ValueMatcher,
)

from dragoman.codec import pack
from translators.claims import JWT_FILTER, PAYLOAD, claim_matcher
from translators.complements import MAX_EXPRESSION, Name, complement

SPIFFE = "spiffe://"
_LONG = 512
"""Characters of values beyond which their complement is not looked for."""


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
    """One of the values of a header; Envoy matches those of several headers of one name each by itself."""
    if value == "*":
        return HeaderMatcher(name=name, present_match=True)
    return HeaderMatcher(name=name, string_match=string_matcher(value))


def other_header(name: str, values: Iterable[str]) -> HeaderMatcher | None:
    """A value of a header that is none of these; None where that cannot be told, or there is none such."""
    listed = tuple(values)
    # Envoy's RE2 reads bytes: a character of two of them cannot be told apart by its first.
    if any(value.startswith("*") or not value.isascii() for value in listed) or sum(map(len, listed)) > _LONG:
        return None
    expression = complement(Name(value.removesuffix("*"), not value.endswith("*")) for value in listed)
    if expression is None or len(expression) > MAX_EXPRESSION:
        return None
    return HeaderMatcher(name=name, string_match=regex(expression))


def host(value: str, *, among_others: bool = False) -> HeaderMatcher:
    """The authority, in any case, with or without a port or the root's dot: `a.b`, `A.b:80` and `a.b.` are one host.

    Of a request with several Host headers Envoy makes one, with commas: with `among_others` it is any of them.
    """
    pattern = ".+" if value == "*" else _glob(value, "[^,]*")
    whole = f"{pattern}\\.?(:[0-9]+)?"
    if among_others:
        whole = f"(.*,)?{whole}(,.*)?"
    return HeaderMatcher(name=":authority", string_match=regex(f"(?i){whole}"))


def claim(names: Sequence[str], value: str) -> Principal:
    """A claim of the verified token."""
    return Principal(sourced_metadata=SourcedMetadata(metadata_matcher=claim_matcher(names, string_matcher(value))))


def filter_metadata(filter_name: str, key: str, value: str) -> Principal:
    """What another filter left in dynamic metadata: a text, or `[value]` among a list (Istio: envoyFilterGenerator)."""
    if value.startswith("[") and value.endswith("]"):
        among = ValueMatcher(string_match=string_matcher(value[1:-1]))
        return _noted(filter_name, (key,), ValueMatcher(list_match=ListMatcher(one_of=among)))
    return _noted(filter_name, (key,), ValueMatcher(string_match=string_matcher(value)))


def request_principal(value: str) -> list[Principal]:
    """`issuer/subject` of the verified token: one of these must hold.

    Both parts may hold slashes, so a value is read with each of its slashes as the one between them; not with those of
    an issuer's scheme.
    """
    if value == "*":
        return [_issued("*", "*")]
    if value.startswith("*"):
        text = value[1:]
        return [_issued("*", value), *(_issued(f"*{text[:at]}", text[at + 1 :]) for at in _slashes(text))]
    if value.endswith("*"):
        text = value[:-1]
        return [_issued(value, "*"), *(_issued(text[:at], f"{text[at + 1 :]}*") for at in _slashes(text))]
    return [_issued(value[:at], value[at + 1 :]) for at in _slashes(value)]


def _slashes(text: str) -> list[int]:
    scheme = re.match(r"https?://", text)
    return [at for at, character in enumerate(text) if character == "/" and (scheme is None or at >= scheme.end())]


def _issued(issuer: str, subject: str) -> Principal:
    return Principal(and_ids=PrincipalSet(ids=[_text("iss", issuer), _text("sub", subject)]))


def _text(name: str, value: str) -> Principal:
    """A claim that is never a list (RFC 7519, sections 4.1.1 and 4.1.2)."""
    return _noted(JWT_FILTER, (PAYLOAD, name), ValueMatcher(string_match=string_matcher(value)))


def _noted(filter_name: str, keys: Sequence[str], value: ValueMatcher) -> Principal:
    path = [MetadataMatcherPathSegment(key=key) for key in keys]
    matcher = MetadataMatcher(filter=filter_name, path=path, value=value)
    return Principal(sourced_metadata=SourcedMetadata(metadata_matcher=matcher))


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
