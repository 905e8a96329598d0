"""VirtualService: see `crds.validate.virtualservice` and `crds.validate.httproute`."""

from collections.abc import Mapping

import msgspec

from crds.destination import Destination, PortSelector
from crds.grpcstatus import GRPC_STATUSES
from crds.manifests.cel import count, given, implies, lists, not_both, texts
from crds.manifests.constraint import Constraint, Rule
from crds.manifests.patterns import (
    CIDR,
    EXPORT_TO,
    GATEWAY_NAME,
    HOST,
    HOST_OR_IP,
    LABEL,
    LABEL_VALUES,
    NAMED_HOST_OR_IP,
    NOT_EMPTY,
    NOT_NEGATIVE,
    ONE_LINE,
    OPTIONAL_LABEL,
    PERCENTAGE,
    PORT,
    REGEX,
    SOME_LINE,
    STATUS,
    TOKEN,
    items,
    text,
    values,
)
from crds.manifests.rules.attachment import ALONE
from crds.stringmatch import StringMatch
from crds.validate.httproute import METHODS, REDIRECT_CODES, RETRY_ON
from crds.virtualservice import (
    Abort,
    CorsPolicy,
    Delay,
    HeaderOperations,
    HTTPBody,
    HTTPDirectResponse,
    HTTPFaultInjection,
    HTTPMatchRequest,
    HTTPRedirect,
    HTTPRetry,
    HTTPRewrite,
    HTTPRoute,
    HTTPRouteDestination,
    L4MatchAttributes,
    Percent,
    RegexRewrite,
    RouteDestination,
    TCPRoute,
    TLSMatchAttributes,
    TLSRoute,
    VirtualServiceSpec,
)

_CONDITION = "|".join((*sorted(RETRY_ON), "0*[1-5][0-9]{2}"))
_RETRIES = text("conditions_of_retries", rf"\s*(?:{_CONDITION})?\s*(?:,\s*(?:{_CONDITION})?\s*)*")
_WEIGHED = "(has(self.route[{0}].weight) && self.route[{0}].weight > 0)"
_MEBIBYTE = 1 << 20
_GATEWAYS = items(GATEWAY_NAME)
_LAYER4 = {
    "destinationSubnets": items(CIDR),
    "port": PORT,
    "sourceLabels": LABEL_VALUES,
    "gateways": _GATEWAYS,
}

CONSTRAINTS: Mapping[type[msgspec.Struct], Constraint] = {
    VirtualServiceSpec: Constraint(
        rules=(
            Rule(lists("http", "tls", "tcp"), "there is no route: add http, tls or tcp", "DRG0308"),
            Rule(
                f"!has(self.hosts) || !('*' in self.hosts) || ({lists('gateways')} && !('mesh' in self.gateways))",
                "* would take all traffic of the mesh: name hosts, or bind to a gateway only",
                "DRG0301",
                ".hosts",
            ),
            *(
                Rule(
                    f"{lists('hosts')} || !{lists(field)}",
                    f"without hosts it can only be delegated to, with http routes: remove {field}, or add hosts",
                    "DRG0311",
                    f".{field}",
                )
                for field in ("gateways", "tls", "tcp")
            ),
            Rule(
                f"{lists('hosts')} || !has(self.http) || self.http.all(route, !has(route.delegate))",
                "a delegate cannot delegate further: route here, or add hosts",
                "DRG0311",
                ".http",
            ),
            ALONE,
        ),
        fields={"hosts": items(HOST_OR_IP), "gateways": _GATEWAYS, "exportTo": items(EXPORT_TO)},
    ),
    HTTPRoute: Constraint(
        rules=(
            Rule(
                f"{count(lists('route'), given('redirect'), given('directResponse'), given('delegate'))} == 1",
                "a route does one of route, redirect, directResponse and delegate",
                "DRG0307",
            ),
            *(
                Rule(
                    not_both(given(action), given(field)),
                    f"{field} has no place beside {action}: remove one of them",
                    "DRG0311",
                    f".{field}",
                )
                for action, field in (("redirect", "fault"), ("redirect", "rewrite"), ("directResponse", "rewrite"))
            ),
            Rule(
                not_both(given("mirror"), lists("mirrors")),
                "mirror and mirrors exclude each other: keep mirrors",
                "DRG0307",
            ),
            Rule(
                f"!has(self.route) || size(self.route) != 2 || {_WEIGHED.format(0)} || {_WEIGHED.format(1)}",
                "the weights of several destinations sum up to 0: give each a weight",
                "DRG0305",
                ".route",
            ),
        ),
        fields={"mirrorPercent": {"maximum": 100}, "mirror_percent": {"maximum": 100}},
    ),
    HTTPMatchRequest: Constraint(
        fields={
            "port": PORT,
            "sourceLabels": LABEL_VALUES,
            "gateways": _GATEWAYS,
            "sourceNamespace": OPTIONAL_LABEL,
        }
    ),
    StringMatch: Constraint(fields={"prefix": NOT_EMPTY, "regex": REGEX}, whole={"maxProperties": 1}),
    Destination: Constraint(fields={"host": NAMED_HOST_OR_IP, "subset": LABEL}),
    PortSelector: Constraint(required=("number",), fields={"number": PORT}),
    HTTPRouteDestination: Constraint(fields={"weight": NOT_NEGATIVE}),
    RouteDestination: Constraint(fields={"weight": NOT_NEGATIVE}),
    HTTPRedirect: Constraint(
        rules=(
            Rule(
                not_both(given("uri"), given("prefixRewrite")),
                "uri and prefixRewrite exclude each other: keep one of them",
                "DRG0307",
            ),
            Rule(
                not_both(given("port"), given("derivePort")),
                "port and derivePort exclude each other: keep one of them",
                "DRG0307",
            ),
            Rule(
                given("uri", "prefixRewrite", "authority", "port", "derivePort", "scheme"),
                "the redirect changes nothing: set uri, prefixRewrite, authority, port or scheme",
                "DRG0308",
            ),
        ),
        fields={
            "uri": ONE_LINE,
            "prefixRewrite": ONE_LINE,
            "authority": ONE_LINE,
            "port": PORT,
            "scheme": {"enum": ["", "http", "https"]},
            "redirectCode": {"enum": sorted(REDIRECT_CODES)},
        },
    ),
    HTTPDirectResponse: Constraint(fields={"status": STATUS}),
    HTTPBody: Constraint(
        rules=(Rule("has(self.string) != has(self.bytes)", "a body is one of string and bytes", "DRG0307"),),
        # Four letters of base64 are three bytes.
        fields={"string": {"maxLength": _MEBIBYTE}, "bytes": {"maxLength": (_MEBIBYTE + 2) // 3 * 4}},
    ),
    HTTPRewrite: Constraint(
        rules=(
            Rule(
                not_both(given("uri"), given("uriRegexRewrite")),
                "uri and uriRegexRewrite exclude each other: keep one of them",
                "DRG0307",
            ),
            Rule(
                f"{texts('uri', 'authority')} || {given('uriRegexRewrite')}",
                "the rewrite changes nothing: set uri, authority or uriRegexRewrite",
                "DRG0308",
            ),
        ),
        fields={"uri": ONE_LINE, "authority": ONE_LINE},
    ),
    RegexRewrite: Constraint(required=("match", "rewrite"), fields={"match": REGEX, "rewrite": SOME_LINE}),
    HTTPRetry: Constraint(
        rules=(
            Rule(
                implies(
                    f"({texts('retryOn')} || {given('perTryTimeout', 'retryRemoteLocalities')})",
                    "(has(self.attempts) && self.attempts != 0)",
                ),
                "retries are off, yet they are described: set attempts",
                "DRG0316",
                ".attempts",
            ),
        ),
        fields={"attempts": NOT_NEGATIVE, "retryOn": _RETRIES},
    ),
    HTTPFaultInjection: Constraint(
        rules=(Rule(given("delay", "abort"), "the fault does nothing: add delay or abort", "DRG0308"),)
    ),
    Delay: Constraint(
        rules=(
            Rule(
                "!has(self.exponentialDelay)",
                "exponentialDelay is not supported, as in Istio: use fixedDelay",
                "DRG0314",
                ".exponentialDelay",
            ),
        ),
        fields={"percent": PERCENTAGE},
    ),
    Abort: Constraint(
        rules=(
            Rule(
                "!has(self.http2Error)",
                "http2Error is not supported, as in Istio: use httpStatus or grpcStatus",
                "DRG0314",
                ".http2Error",
            ),
            Rule(
                not_both(given("httpStatus"), given("grpcStatus")),
                "httpStatus and grpcStatus exclude each other: keep one of them",
                "DRG0307",
            ),
        ),
        fields={"httpStatus": STATUS, "grpcStatus": {"enum": sorted(GRPC_STATUSES)}},
    ),
    Percent: Constraint(fields={"value": PERCENTAGE}),
    CorsPolicy: Constraint(
        fields={
            "allowOrigins": items({"minProperties": 1, "properties": {"exact": NOT_EMPTY}}),
            "allowMethods": items({"enum": [*sorted(METHODS), "*"]}),
            "allowHeaders": items(TOKEN),
            "exposeHeaders": items(TOKEN),
        }
    ),
    HeaderOperations: Constraint(
        fields={"set": values(ONE_LINE), "add": values(ONE_LINE), "remove": items(TOKEN)},
    ),
    TLSMatchAttributes: Constraint(required=("sniHosts",), fields={"sniHosts": items(HOST, minItems=1), **_LAYER4}),
    L4MatchAttributes: Constraint(fields=_LAYER4),
    TLSRoute: Constraint(required=("match", "route"), fields={"match": {"minItems": 1}, "route": {"minItems": 1}}),
    TCPRoute: Constraint(required=("route",), fields={"route": {"minItems": 1}}),
}
