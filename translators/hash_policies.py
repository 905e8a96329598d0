"""What of a request a consistent hash is taken from (Istio: route.go, consistentHashToHashPolicy)."""

from __future__ import annotations

from envoy_data_plane.envoy.config.route.v3 import (
    RouteActionHashPolicy,
    RouteActionHashPolicyConnectionProperties,
    RouteActionHashPolicyCookie,
    RouteActionHashPolicyCookieAttribute,
    RouteActionHashPolicyHeader,
    RouteActionHashPolicyQueryParameter,
)

from crds.loadbalancer import HTTPCookie, LoadBalancerSettings


def hash_policy(settings: LoadBalancerSettings | None) -> RouteActionHashPolicy | None:
    """None for a load balancer that takes no hash."""
    hashed = settings.consistent_hash if settings is not None else None
    if hashed is None:
        return None
    if hashed.http_header_name:
        return RouteActionHashPolicy(header=RouteActionHashPolicyHeader(header_name=hashed.http_header_name))
    if hashed.http_cookie is not None and hashed.http_cookie.name:
        return RouteActionHashPolicy(cookie=_cookie(hashed.http_cookie))
    if hashed.use_source_ip:
        return RouteActionHashPolicy(connection_properties=RouteActionHashPolicyConnectionProperties(source_ip=True))
    if hashed.http_query_parameter_name:
        name = hashed.http_query_parameter_name
        return RouteActionHashPolicy(query_parameter=RouteActionHashPolicyQueryParameter(name=name))
    return None


def _cookie(cookie: HTTPCookie) -> RouteActionHashPolicyCookie:
    return RouteActionHashPolicyCookie(
        name=cookie.name,
        path=cookie.path or "",
        ttl=cookie.ttl,
        attributes=[
            RouteActionHashPolicyCookieAttribute(name=attribute.name, value=attribute.value or "")
            for attribute in cookie.attributes
            if attribute.name
        ],
    )
