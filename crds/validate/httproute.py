"""One HTTP route of a VirtualService (Istio: validateHTTPRoute and what it calls)."""

from collections.abc import Iterator

import msgspec

from crds.codes import problem
from crds.grpcstatus import GRPC_STATUSES
from crds.problem import Problem
from crds.regex import unknown_group
from crds.validate import bounds, names, routes
from crds.virtualservice import (
    CorsPolicy,
    Headers,
    HTTPFaultInjection,
    HTTPMatchRequest,
    HTTPRedirect,
    HTTPRetry,
    HTTPRewrite,
    HTTPRoute,
    RegexRewrite,
)

_MEGABYTE = 1 << 20
_ACTIONS = ("route", "redirect", "directResponse", "delegate")
# Envoy: config.route.v3.RedirectAction.RedirectResponseCode; Istio admits every 3xx and drops what Envoy lacks.
REDIRECT_CODES = frozenset((301, 302, 303, 307, 308))
_AUTHORITY = frozenset((":authority",))
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"))
# Envoy: config.route.v3.RetryPolicy.retry_on (x-envoy-retry-on and x-envoy-retry-grpc-on)
RETRY_ON = frozenset(
    (
        "5xx",
        "cancelled",
        "connect-failure",
        "deadline-exceeded",
        "envoy-ratelimited",
        "gateway-error",
        "http3-post-connect-failure",
        "internal",
        "refused-stream",
        "reset",
        "reset-before-request",
        "resource-exhausted",
        "retriable-4xx",
        "retriable-headers",
        "retriable-status-codes",
        "unavailable",
    )
)


def http_route(route: HTTPRoute, path: str, *, delegate: bool) -> Iterator[Problem]:
    """Problems of a route. `delegate` says that its object is one that others delegate to."""
    yield from _action(route, path, delegate=delegate)
    for index, match in enumerate(route.match):
        yield from _match(match, f"{path}.match[{index}]")
    yield from routes.destinations(route.route, f"{path}.route")
    for index, weighted in enumerate(route.route):
        yield from _headers(weighted.headers, f"{path}.route[{index}].headers")
    if route.redirect is not None:
        yield from _redirect(route.redirect, f"{path}.redirect")
    if route.direct_response is not None:
        response = route.direct_response
        if not 200 <= response.status <= 599:  # Envoy: config.route.v3.DirectResponseAction.status
            yield problem("DRG0314", f"{path}.directResponse.status", f"{response.status} is not between 200 and 599")
        if (body := response.body) is not None:
            if (body.string is None) == (body.bytes_ is None):
                yield problem("DRG0307", f"{path}.directResponse.body", "a body is one of string and bytes")
            if max(len((body.string or "").encode()), len(body.bytes_ or b"")) > _MEGABYTE:
                yield problem("DRG0314", f"{path}.directResponse.body", "a body may have 1 MiB at most")
    if route.rewrite is not None:
        yield from _rewrite(route.rewrite, f"{path}.rewrite")
    if route.retries is not None:
        yield from _retries(route.retries, f"{path}.retries")
    if route.fault is not None:
        yield from _fault(route.fault, f"{path}.fault")
    if route.cors_policy is not None:
        yield from _cors(route.cors_policy, f"{path}.corsPolicy")
    yield from _mirrors(route, path)
    yield from _headers(route.headers, f"{path}.headers")
    yield from bounds.duration(route.timeout, f"{path}.timeout")


def _action(route: HTTPRoute, path: str, *, delegate: bool) -> Iterator[Problem]:
    held = (bool(route.route), route.redirect is not None, route.direct_response is not None, bool(route.delegate))
    given = [name for name, present in zip(_ACTIONS, held, strict=True) if present]
    if not given:
        yield problem("DRG0307", path, "the route does nothing", f"add one of {', '.join(_ACTIONS)}")
    elif len(given) > 1:
        yield problem("DRG0307", path, f"{' and '.join(given)} exclude each other", "keep one of them")
    if route.delegate is not None and delegate:
        yield problem("DRG0311", f"{path}.delegate", "a delegate cannot delegate further", "route here")
    if route.redirect is not None or route.direct_response is not None:
        what = "redirect" if route.redirect is not None else "directResponse"
        for field, value in (("fault", route.fault), ("rewrite", route.rewrite)):
            if value is not None and (field, what) != ("fault", "directResponse"):
                yield problem("DRG0311", f"{path}.{field}", f"{field} has no place beside {what}", "remove one of them")


def _match(match: HTTPMatchRequest, path: str) -> Iterator[Problem]:
    for field, held in (
        ("uri", match.uri),
        ("scheme", match.scheme),
        ("method", match.method),
        ("authority", match.authority),
    ):
        yield from bounds.string_match(held, f"{path}.{field}")
    for field, named in (
        ("headers", match.headers),
        ("withoutHeaders", match.without_headers),
        ("queryParams", match.query_params),
    ):
        for name, held in named.items():
            where = f"{path}.{field}[{name}]"
            if not name:
                yield problem("DRG0308", where, "the name is empty")
            elif field != "queryParams" and not name.startswith("@request.auth.claims"):
                yield from names.header(name, where, pseudo=frozenset((":authority", ":method", ":path", ":scheme")))
            # Istio reads the regex "*" as: the value is present.
            present = msgspec.structs.replace(held, regex=".*") if held.regex == "*" else held
            yield from bounds.string_match(present, where)
    yield from bounds.port(match.port, f"{path}.port")
    yield from names.labels(match.source_labels, f"{path}.sourceLabels")
    yield from routes.gateways(match.gateways, f"{path}.gateways")
    if match.source_namespace and not names.is_dns_label(match.source_namespace):
        yield problem("DRG0301", f"{path}.sourceNamespace", f"{match.source_namespace!r} is not a namespace")
    if match.ignore_uri_case and match.uri is not None and match.uri.regex is not None:
        yield problem("DRG0406", f"{path}.ignoreUriCase", "a regex decides about case itself", "use (?i) in the regex")


def _redirect(redirect: HTTPRedirect, path: str) -> Iterator[Problem]:
    if redirect.uri is not None and redirect.prefix_rewrite is not None:
        yield problem("DRG0307", path, "uri and prefixRewrite exclude each other", "keep one of them")
    if redirect.port is not None and redirect.derive_port is not None:
        yield problem("DRG0307", path, "port and derivePort exclude each other", "keep one of them")
    yield from bounds.one_line(redirect.uri, f"{path}.uri")
    yield from bounds.one_line(redirect.authority, f"{path}.authority")
    yield from bounds.one_line(redirect.prefix_rewrite, f"{path}.prefixRewrite")
    yield from bounds.port(redirect.port, f"{path}.port")
    if redirect.redirect_code is not None and redirect.redirect_code not in REDIRECT_CODES:
        codes = ", ".join(map(str, sorted(REDIRECT_CODES)))
        yield problem("DRG0314", f"{path}.redirectCode", f"{redirect.redirect_code} is no redirect", f"one of {codes}")
    if redirect.scheme not in (None, "", "http", "https"):
        yield problem("DRG0314", f"{path}.scheme", f"{redirect.scheme!r} is not http or https")
    if redirect == HTTPRedirect() or redirect == HTTPRedirect(redirect_code=redirect.redirect_code):
        yield problem(
            "DRG0308", path, "the redirect changes nothing", "set uri, prefixRewrite, authority, port or scheme"
        )


def _rewrite(rewrite: HTTPRewrite, path: str) -> Iterator[Problem]:
    if rewrite.uri is not None and rewrite.uri_regex_rewrite is not None:
        yield problem("DRG0307", path, "uri and uriRegexRewrite exclude each other", "keep one of them")
    if not (rewrite.uri or rewrite.authority or rewrite.uri_regex_rewrite):
        yield problem("DRG0308", path, "the rewrite changes nothing", "set uri, authority or uriRegexRewrite")
    yield from bounds.one_line(rewrite.uri, f"{path}.uri")
    yield from bounds.one_line(rewrite.authority, f"{path}.authority")
    if rewrite.uri_regex_rewrite is not None:
        yield from _regex_rewrite(rewrite.uri_regex_rewrite, f"{path}.uriRegexRewrite")


def _regex_rewrite(regex: RegexRewrite, path: str) -> Iterator[Problem]:
    refused = list(bounds.regex(regex.match, f"{path}.match")) if regex.match else []
    yield from refused
    if not regex.match:
        yield problem("DRG0308", f"{path}.match", "the pattern is empty")
    if not regex.rewrite:
        yield problem("DRG0308", f"{path}.rewrite", "the replacement is empty")
    elif regex.match and not refused and (unknown := unknown_group(regex.rewrite, regex.match)):
        remedy = r"\0 is the whole match, \1 to \9 are its groups, \\ is a backslash"
        yield problem("DRG0314", f"{path}.rewrite", f"{unknown} is no group of the pattern", remedy)
    yield from bounds.one_line(regex.rewrite, f"{path}.rewrite")


def _retries(retries: HTTPRetry, path: str) -> Iterator[Problem]:
    yield from bounds.not_negative(retries.attempts, f"{path}.attempts")
    described = retries.retry_on or retries.per_try_timeout is not None or retries.retry_remote_localities is not None
    if not retries.attempts and described:
        yield problem("DRG0316", f"{path}.attempts", "retries are off, yet they are described", "set attempts")
    yield from bounds.duration(retries.per_try_timeout, f"{path}.perTryTimeout")
    yield from bounds.duration(retries.backoff, f"{path}.backoff")
    for condition in (retries.retry_on or "").split(","):
        name = condition.strip()
        is_status = name.isdecimal() and 100 <= int(name) <= 599
        if name and name not in RETRY_ON and not is_status:
            remedy = "a status code, or one of Envoy's conditions such as 5xx, reset, connect-failure"
            yield problem("DRG0314", f"{path}.retryOn", f"{name!r} is not a condition for retries", remedy)


def _fault(fault: HTTPFaultInjection, path: str) -> Iterator[Problem]:
    if fault.delay is None and fault.abort is None:
        yield problem("DRG0308", path, "the fault does nothing", "add delay or abort")
    if (delay := fault.delay) is not None:
        where = f"{path}.delay"
        if delay.exponential_delay is not None:
            yield problem("DRG0314", f"{where}.exponentialDelay", "not supported, as in Istio", "use fixedDelay")
        elif delay.fixed_delay is None:
            yield problem("DRG0406", where, "without fixedDelay nothing is delayed", "add fixedDelay")
        yield from bounds.duration(delay.fixed_delay, f"{where}.fixedDelay")
        yield from bounds.percentage(delay.percent, f"{where}.percent")
        if delay.percent is not None:
            yield problem("DRG0401", f"{where}.percent", "percent is deprecated", "use percentage.value")
        if delay.percentage is not None:
            yield from bounds.percentage(delay.percentage.value, f"{where}.percentage.value")
    if (abort := fault.abort) is not None:
        where = f"{path}.abort"
        if abort.http2_error is not None:
            yield problem(
                "DRG0314", f"{where}.http2Error", "not supported, as in Istio", "use httpStatus or grpcStatus"
            )
        elif abort.http_status is None and abort.grpc_status is None:
            yield problem("DRG0406", where, "without httpStatus or grpcStatus nothing is aborted", "add one of them")
        if abort.http_status is not None and abort.grpc_status is not None:
            yield problem("DRG0307", where, "httpStatus and grpcStatus exclude each other", "keep one of them")
        if abort.http_status is not None and not 200 <= abort.http_status <= 599:
            yield problem("DRG0314", f"{where}.httpStatus", f"{abort.http_status} is not between 200 and 599")
        if abort.grpc_status is not None and abort.grpc_status not in GRPC_STATUSES:
            yield problem(
                "DRG0314",
                f"{where}.grpcStatus",
                f"{abort.grpc_status!r} is not a gRPC status",
                "NOT_FOUND, for example",
            )
        if abort.percentage is not None:
            yield from bounds.percentage(abort.percentage.value, f"{where}.percentage.value")


def _cors(cors: CorsPolicy, path: str) -> Iterator[Problem]:
    for index, origin in enumerate(cors.allow_origins):
        if not (origin.exact or origin.prefix or origin.regex):
            yield problem("DRG0308", f"{path}.allowOrigins[{index}]", "the origin is empty", 'use exact: "*" for all')
        yield from bounds.string_match(origin, f"{path}.allowOrigins[{index}]")
    if cors.allow_origin:
        yield problem("DRG0401", f"{path}.allowOrigin", "allowOrigin is deprecated", "use allowOrigins")
        if cors.allow_origins:
            yield problem("DRG0406", f"{path}.allowOrigin", "ignored, since allowOrigins is set", "remove it")
    for index, method in enumerate(cors.allow_methods):
        if method not in METHODS and method != "*":
            yield problem("DRG0314", f"{path}.allowMethods[{index}]", f"{method!r} is not an HTTP method")
    for field, listed in (("allowHeaders", cors.allow_headers), ("exposeHeaders", cors.expose_headers)):
        for index, name in enumerate(listed):
            yield from names.header(name, f"{path}.{field}[{index}]")
    yield from bounds.duration(cors.max_age, f"{path}.maxAge")
    if cors.max_age is not None and cors.max_age.microseconds:
        yield problem("DRG0303", f"{path}.maxAge", "browsers count whole seconds", "write whole seconds")


def _mirrors(route: HTTPRoute, path: str) -> Iterator[Problem]:
    if route.mirror is not None and route.mirrors:
        yield problem("DRG0307", path, "mirror and mirrors exclude each other", "keep mirrors")
    if route.mirror is not None:
        yield from routes.destination(route.mirror, f"{path}.mirror")
    for index, policy in enumerate(route.mirrors):
        yield from routes.destination(policy.destination, f"{path}.mirrors[{index}].destination")
        if policy.percentage is not None:
            yield from bounds.percentage(policy.percentage.value, f"{path}.mirrors[{index}].percentage.value")
    for name, percent in (("mirrorPercent", route.mirror_percent), ("mirror_percent", route.mirror_percent_alias)):
        if percent is not None:
            yield problem("DRG0401", f"{path}.{name}", f"{name} is deprecated", "use mirrorPercentage")
            yield from bounds.percentage(percent, f"{path}.{name}")
    if route.mirror_percentage is not None:
        yield from bounds.percentage(route.mirror_percentage.value, f"{path}.mirrorPercentage.value")


def _headers(headers: Headers | None, path: str) -> Iterator[Problem]:
    if headers is None:
        return
    for direction, operations in (("request", headers.request), ("response", headers.response)):
        if operations is None:
            continue
        pseudo = _AUTHORITY if direction == "request" else frozenset[str]()
        for field, named in (("set", operations.set), ("add", operations.add), ("remove", operations.remove)):
            for name in named:
                allowed = pseudo if field != "remove" else frozenset[str]()
                yield from names.header(name, f"{path}.{direction}.{field}[{name}]", pseudo=allowed)
        for field, values in (("set", operations.set), ("add", operations.add)):
            for name, value in values.items():
                yield from bounds.one_line(value, f"{path}.{direction}.{field}[{name}]")
