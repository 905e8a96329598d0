"""Which requests a route takes: `http[].match[]` (Istio: route.go, TranslateRouteMatch)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher, QueryParameterMatcher, RouteMatch
from envoy_data_plane.envoy.type.matcher.v3 import MetadataMatcher

from crds.stringmatch import StringMatch
from crds.virtualservice import HTTPMatchRequest
from translators.claims import claim_matcher
from translators.header_text import one_line
from translators.regexes import regex_matcher
from translators.string_matchers import string_matcher
from translators.untranslatable import UntranslatableError

_CLAIMS = "@request.auth.claims"


def route_match(match: HTTPMatchRequest | None) -> RouteMatch:
    """The Envoy match of one `match` entry; of None, the one that takes every request.

    `port`, `gateways`, `sourceLabels` and `sourceNamespace` are no part of it: they decide at translation whether the
    route exists at all. Headers come in order of name, so that equal rules are equal bytes.
    """
    if match is None:
        return RouteMatch(prefix="/")
    out = _uri(match.uri)
    out.case_sensitive = not match.ignore_uri_case
    for name, wanted in sorted(match.headers.items()):
        _header_or_claim(out, name, wanted, f"headers.{name}", invert=False)
    for name, wanted in sorted(match.without_headers.items()):
        _header_or_claim(out, name, wanted, f"withoutHeaders.{name}", invert=True)
    for name, pseudo in ((":method", match.method), (":authority", match.authority), (":scheme", match.scheme)):
        if pseudo is not None:
            out.headers.append(_header(name, pseudo, name[1:]))
    out.query_parameters = list(_query(match))
    return out


def takes_everything(match: RouteMatch | None) -> bool:
    """Whether no later route can be reached (Istio: isCatchAllRoute)."""
    if match is None:
        return False
    everywhere = match.prefix == "/" or (match.safe_regex is not None and match.safe_regex.regex in ("*", ".*", "/.*"))
    return everywhere and not (match.headers or match.query_parameters or match.dynamic_metadata)


def _uri(uri: StringMatch | None) -> RouteMatch:
    if uri is None:
        return RouteMatch(prefix="/")
    if uri.exact is not None:
        return RouteMatch(path=uri.exact)
    if uri.regex is not None:
        return RouteMatch(safe_regex=regex_matcher(".*" if uri.regex == "*" else uri.regex, "uri.regex"))
    # A plain prefix, not one that ends at a slash: that is what a VirtualService means by it.
    return RouteMatch(prefix=uri.prefix or "/")


def _header_or_claim(out: RouteMatch, name: str, wanted: StringMatch, path: str, *, invert: bool) -> None:
    if name.startswith(_CLAIMS):
        out.dynamic_metadata.append(_claim(name, wanted, path, invert))
    else:
        matcher = _header(name, wanted, path)
        if invert:
            matcher.invert_match = True
            # Without it Envoy never matches a request that lacks the header, inverted or not.
            matcher.treat_missing_header_as_empty = matcher.string_match is not None
        out.headers.append(matcher)


def _header(name: str, wanted: StringMatch, path: str) -> HeaderMatcher:
    if not name:
        raise UntranslatableError(path, "a header needs a name")
    one_line(name, path)
    matcher = string_matcher(wanted, path)
    return (
        HeaderMatcher(name=name, present_match=True)
        if matcher is None
        else HeaderMatcher(name=name, string_match=matcher)
    )


def _query(match: HTTPMatchRequest) -> Iterator[QueryParameterMatcher]:
    for name, wanted in sorted(match.query_params.items()):
        if not name:
            raise UntranslatableError("queryParams", "a query parameter needs a name")
        matcher = string_matcher(wanted, f"queryParams.{name}")
        if matcher is None:
            yield QueryParameterMatcher(name=name, present_match=True)
        else:
            yield QueryParameterMatcher(name=name, string_match=matcher)


def _claim(name: str, wanted: StringMatch, path: str, invert: bool) -> MetadataMatcher:
    """A claim of a verified token: `@request.auth.claims.a.b` or `@request.auth.claims[a][b]` for names with dots."""
    rest = name.removeprefix(_CLAIMS)
    if re.fullmatch(r"(\[[^\[\]]+\])+", rest):
        keys = re.findall(r"\[([^\[\]]+)\]", rest)
    elif rest.startswith(".") and all(rest[1:].split(".")):
        keys = rest[1:].split(".")
    else:
        raise UntranslatableError(path, "claims are written @request.auth.claims.a.b or @request.auth.claims[a][b]")
    return claim_matcher(keys, string_matcher(wanted, path), invert=invert)
