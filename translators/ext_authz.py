"""CUSTOM policies → filters that ask an external authorizer about what the policies match.

An RBAC filter in shadow mode notes which policy matches, the ext_authz filter behind it asks only where one did
(Istio: pilot/pkg/security/authz/builder/extauthz.go).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    HeaderValue,
    HttpUri,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import (
    AuthorizationRequest,
    AuthorizationResponse,
    BufferSettings,
    ExtAuthz,
    HttpService,
)
from envoy_data_plane.envoy.extensions.filters.network.ext_authz.v3 import ExtAuthz as NetworkExtAuthz
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.matcher.v3 import (
    ListStringMatcher,
    MetadataMatcher,
    MetadataMatcherPathSegment,
    StringMatcher,
    ValueMatcher,
)
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode

from crds.extensionprovider import EnvoyExtAuthzGrpc, EnvoyExtAuthzHttp, ExtAuthzRequestBody
from dragoman.codec import CLUSTER, Ref, pack
from dragoman.mesh.authorizers import Authorizer
from translators.names import outbound_cluster

HTTP_FILTER = "envoy.filters.http.ext_authz"
NETWORK_FILTER = "envoy.filters.network.ext_authz"

POLICY_PREFIX = "istio-ext-authz-"
"""Begins the names of policies that ask."""
SHADOW_PREFIX = "istio_ext_authz_"
"""Begins the metadata keys that the shadow rules write."""

_MATCHED = SHADOW_PREFIX + "shadow_effective_policy_id"
_TIMEOUT = timedelta(seconds=600)


def reference(asked: Authorizer) -> Ref:
    """The cluster that the filters name."""
    return CLUSTER, _cluster(asked)


def http_filter(asked: Authorizer, rbac: str) -> HttpFilter:
    """Asks about requests that the shadow rules of the filter `rbac` matched."""
    provider = asked.provider
    ext_authz = ExtAuthz(
        transport_api_version=ApiVersion.V3,
        failure_mode_allow=provider.fail_open,
        clear_route_cache=provider.clear_route_cache,
        filter_enabled_metadata=_matched(rbac),
        with_request_body=_body(provider.include_request_body_in_check),
    )
    if provider.status_on_error:
        ext_authz.status_on_error = HttpStatus(code=StatusCode(int(provider.status_on_error)))
    if isinstance(provider, EnvoyExtAuthzGrpc):
        ext_authz.grpc_service = _grpc_service(asked)
    else:
        ext_authz.http_service = _http_service(asked, provider)
        # Host, method, path, length and credentials are always sent (Envoy: ExtAuthz.allowed_headers).
        ext_authz.allowed_headers = _headers(
            provider.include_request_headers_in_check or provider.include_headers_in_check
        )
    return HttpFilter(name=HTTP_FILTER, typed_config=pack(ext_authz))


def network_filter(asked: Authorizer, rbac: str) -> Filter | None:
    """Asks about connections in the same way; None for an HTTP provider, which can only be asked about requests."""
    if not isinstance(asked.provider, EnvoyExtAuthzGrpc):
        return None
    ext_authz = NetworkExtAuthz(
        stat_prefix="tcp.",
        transport_api_version=ApiVersion.V3,
        failure_mode_allow=asked.provider.fail_open,
        grpc_service=_grpc_service(asked),
        filter_enabled_metadata=_matched(rbac),
    )
    return Filter(name=NETWORK_FILTER, typed_config=pack(ext_authz))


def _cluster(asked: Authorizer) -> str:
    return outbound_cluster(asked.provider.port, "", asked.host)


def _grpc_service(asked: Authorizer) -> GrpcService:
    return GrpcService(
        envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=_cluster(asked), authority=asked.host),
        timeout=asked.provider.timeout or _TIMEOUT,
    )


def _http_service(asked: Authorizer, provider: EnvoyExtAuthzHttp) -> HttpService:
    additional = provider.include_additional_headers_in_check
    return HttpService(
        server_uri=HttpUri(uri=f"http://{asked.host}", cluster=_cluster(asked), timeout=provider.timeout or _TIMEOUT),
        path_prefix=provider.path_prefix,
        authorization_request=AuthorizationRequest(
            headers_to_add=[HeaderValue(key=key, value=additional[key]) for key in sorted(additional)]
        )
        if additional
        else None,
        authorization_response=AuthorizationResponse(
            allowed_upstream_headers=_headers(provider.headers_to_upstream_on_allow),
            allowed_client_headers=_headers(provider.headers_to_downstream_on_deny),
            allowed_client_headers_on_success=_headers(provider.headers_to_downstream_on_allow),
        ),
    )


def _headers(names: Iterable[str]) -> ListStringMatcher | None:
    patterns = [_header(name) for name in names]
    return ListStringMatcher(patterns=patterns) if patterns else None


def _header(name: str) -> StringMatcher:
    if name.startswith("*"):
        return StringMatcher(suffix=name[1:], ignore_case=True)
    if name.endswith("*"):
        return StringMatcher(prefix=name[:-1], ignore_case=True)
    return StringMatcher(exact=name, ignore_case=True)


def _body(settings: ExtAuthzRequestBody | None) -> BufferSettings | None:
    if settings is None:
        return None
    return BufferSettings(
        max_request_bytes=settings.max_request_bytes,
        allow_partial_message=settings.allow_partial_message,
        pack_as_bytes=settings.pack_as_bytes,
    )


def _matched(rbac: str) -> MetadataMatcher:
    return MetadataMatcher(
        filter=rbac,
        path=[MetadataMatcherPathSegment(key=_MATCHED)],
        value=ValueMatcher(string_match=StringMatcher(prefix=POLICY_PREFIX)),
    )
