"""Answers that Envoy gives itself (Istio: route.go, ApplyRedirect, ApplyDirectResponse)."""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    RedirectAction,
)
from envoy_data_plane.envoy.config.route.v3 import (
    RedirectActionRedirectResponseCode as Code,
)

from crds.virtualservice import HTTPDirectResponse, HTTPRedirect, RedirectPortSelection
from translators.header_text import one_line
from translators.untranslatable import UntranslatableError

MAX_BODY = 1024 * 1024
"""Bytes of a direct response: the limit that route configurations set (Istio: DefaultMaxDirectResponseBodySize)."""

_CODES = {
    301: Code.MOVED_PERMANENTLY,
    302: Code.FOUND,
    303: Code.SEE_OTHER,
    307: Code.TEMPORARY_REDIRECT,
    308: Code.PERMANENT_REDIRECT,
}


def redirect_action(redirect: HTTPRedirect, port: int) -> RedirectAction:
    """`port` is the one the request came to: Envoy cannot derive it, but a route is always made for one port."""
    code = redirect.redirect_code or 301
    if code not in _CODES:
        raise UntranslatableError("redirect.redirectCode", f"{code} is not one of {', '.join(map(str, _CODES))}")
    action = RedirectAction(
        response_code=_CODES[code],
        host_redirect=one_line(redirect.authority or "", "redirect.authority"),
        scheme_redirect=redirect.scheme or None,
        path_redirect=one_line(redirect.uri or "", "redirect.uri") or None,
    )
    if redirect.prefix_rewrite is not None and not redirect.uri:
        action.prefix_rewrite = one_line(redirect.prefix_rewrite, "redirect.prefixRewrite")
    if redirect.port is not None:
        if redirect.port > 65535:
            raise UntranslatableError("redirect.port", f"{redirect.port} is no port")
        action.port_redirect = redirect.port
    elif redirect.derive_port is RedirectPortSelection.FROM_REQUEST_PORT:
        action.port_redirect = port
    return action


def direct_response(response: HTTPDirectResponse) -> DirectResponseAction:
    if not 200 <= response.status <= 599:
        raise UntranslatableError("directResponse.status", f"{response.status} is not between 200 and 599")
    action = DirectResponseAction(status=response.status)
    body = response.body
    if body is None:
        return action
    size = len(body.bytes_) if body.bytes_ is not None else len((body.string or "").encode())
    if size > MAX_BODY:
        raise UntranslatableError("directResponse.body", f"{size} bytes are more than {MAX_BODY}")
    if body.bytes_ is not None:
        action.body = DataSource(inline_bytes=body.bytes_)
    elif body.string is not None:
        action.body = DataSource(inline_string=body.string)
    return action
