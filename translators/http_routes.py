"""`http[]` of a VirtualService as Envoy routes (Istio: route.go, BuildHTTPRoutesForVirtualService)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from envoy_data_plane.envoy.config.core.v3 import Metadata
from envoy_data_plane.envoy.config.route.v3 import Decorator, Route, RouteAction, RouteMatch

from crds.virtualservice import HTTPMatchRequest, HTTPRetry, HTTPRoute, VirtualService
from dragoman.codec import CLUSTER, Ref, pack, struct
from dragoman.mesh.labels import Labels, labels_of
from dragoman.mesh.world import MESH_GATEWAY
from translators import alpn, cors, faults
from translators.header_operations import header_changes
from translators.redirects import direct_response, redirect_action
from translators.retries import retry_policy
from translators.route_action import CLIENT_DEADLINE, NO_TIMEOUT, Resolve, Target, forward
from translators.route_match import route_match, takes_everything
from translators.untranslatable import UntranslatableError


@dataclass(frozen=True, slots=True)
class Origin:
    """Where requests come from: what `port`, `gateways`, `sourceNamespace` and `sourceLabels` are compared with.

    `gateway` is `mesh` for a sidecar, else `namespace/name`; `namespace` and `labels` are the proxy's own.
    """

    port: int
    gateway: str
    namespace: str
    labels: Labels


def http_routes(
    virtual_service: VirtualService, origin: Origin, resolve: Resolve, default_retries: HTTPRetry | None = None
) -> tuple[Route, ...]:
    """One route for each match that holds at `origin`, in order, up to the first that takes every request.

    Raises `UntranslatableError` with the path of a field that Envoy would refuse.
    """
    routes = []
    for index, http in enumerate(virtual_service.spec.http):
        path = f"spec.http[{index}]"
        for place, match in _matches(http, path):
            if not applies(match, origin, virtual_service.namespace):
                continue
            try:
                matched = route_match(match)
            except UntranslatableError as error:
                raise error.under(place) from None
            try:
                routes.append(_route(virtual_service, http, match, matched, origin, resolve, default_retries))
            except UntranslatableError as error:
                raise error.under(path) from None
            if takes_everything(matched):
                return tuple(routes)
    return tuple(routes)


def _matches(http: HTTPRoute, path: str) -> Iterator[tuple[str, HTTPMatchRequest | None]]:
    if not http.match:
        yield path, None
    for index, match in enumerate(http.match):
        yield f"{path}.match[{index}]", match


def applies(match: HTTPMatchRequest | None, origin: Origin, owner: str) -> bool:
    """Whether a match can hold at all for requests of `origin` (Istio: sourceMatchHTTP); `owner` resolves gateways."""
    if match is None:
        return True
    if match.port and match.port != origin.port:
        return False
    if match.gateways and origin.gateway not in (gateway_name(gateway, owner) for gateway in match.gateways):
        return False
    if match.source_namespace and match.source_namespace != origin.namespace:
        return False
    return labels_of(match.source_labels) <= origin.labels


def gateway_name(written: str, owner: str) -> str:
    """`namespace/name` of a gateway as a VirtualService of namespace `owner` writes it; `mesh` stays."""
    return written if written == MESH_GATEWAY or "/" in written else f"{owner}/{written}"


def _route(
    virtual_service: VirtualService,
    http: HTTPRoute,
    match: HTTPMatchRequest | None,
    matched: RouteMatch,
    origin: Origin,
    resolve: Resolve,
    default_retries: HTTPRetry | None,
) -> Route:
    out = Route(
        name=".".join(name for name in (http.name, match.name if match else None) if name),
        match=matched,
        metadata=_metadata(virtual_service),
        stat_prefix=(match.stat_prefix or "") if match else "",
    )
    header_changes(http.headers).apply(out)
    if http.redirect is not None:
        out.redirect = redirect_action(http.redirect, origin.port)
    elif http.direct_response is not None:
        out.direct_response = direct_response(http.direct_response)
    elif http.delegate is not None:
        raise UntranslatableError("delegate", "delegation is not supported yet")
    else:
        forward(out, http, resolve, default_retries)
    out.decorator = Decorator(operation=_operation(out, virtual_service.name, origin.port))
    if http.fault is not None:
        injected = faults.fault(http.fault)
        if injected is not None:
            out.typed_per_filter_config[faults.FILTER] = pack(injected)
    if http.cors_policy is not None:
        out.typed_per_filter_config[cors.FILTER] = pack(cors.cors_policy(http.cors_policy))
    return out


def default_route(host: str, port: int, target: Target, retries: HTTPRetry | None) -> Route:
    """The route of a service that no VirtualService speaks of (Istio: buildDefaultHTTPOutboundRoute)."""
    hash_policy = target.hash_policy
    out = Route(
        name="default",
        match=RouteMatch(prefix="/"),
        route=RouteAction(
            cluster=target.cluster,
            timeout=NO_TIMEOUT,
            max_stream_duration=CLIENT_DEADLINE,
            retry_policy=retry_policy(retries, consistent_hash=hash_policy is not None),
            hash_policy=[hash_policy] if hash_policy is not None else [],
        ),
        typed_per_filter_config=alpn.PER_REQUEST if target.follows_client else {},
    )
    out.decorator = Decorator(operation=_operation(out, host, port))
    return out


def references(routes: tuple[Route, ...]) -> frozenset[Ref]:
    """Every cluster that the routes name."""
    return frozenset((CLUSTER, name) for route in routes for name in _clusters(route.route))


def _clusters(action: RouteAction | None) -> Iterator[str]:
    if action is None:
        return
    if action.cluster is not None:
        yield action.cluster
    if action.weighted_clusters is not None:
        yield from (share.name for share in action.weighted_clusters.clusters)
    yield from (mirror.cluster for mirror in action.request_mirror_policies)


def _metadata(virtual_service: VirtualService) -> Metadata:
    """Which object a route was made from, where Istio's tools look for it (Istio: BuildConfigInfoMetadata)."""
    path = f"/apis/networking.istio.io/v1/namespaces/{virtual_service.namespace}/virtual-service/{virtual_service.name}"
    return Metadata(filter_metadata={"istio": struct({"config": path})})


def _operation(route: Route, name: str, port: int) -> str:
    """The name of spans: `host:port/path`, with the VirtualService's name where there are several hosts."""
    match = route.match or RouteMatch()
    if match.path is not None:
        path = match.path
    elif match.safe_regex is not None:
        path = match.safe_regex.regex
    else:
        path = f"{match.prefix}*"
    cluster = route.route.cluster if route.route is not None else None
    if cluster:
        _, number, _, host = cluster.split("|", 3)
        return f"{host}:{number}{path}"
    return f"{name}:{port}{path}"
