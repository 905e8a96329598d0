"""MeshConfig.extensionProviders (Istio: pkg/config/validation/extensionprovider.go)."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta

from crds.authorizationpolicy import Action, AuthorizationPolicy
from crds.codes import problem
from crds.extensionprovider import EnvoyExtAuthzGrpc, EnvoyExtAuthzHttp, ExtensionProvider
from crds.problem import Problem
from crds.validate import bounds, names

# What Envoy answers with (Envoy: type/v3/http_status.proto), without the interim 100.
_STATUSES = frozenset(
    (
        *range(200, 209),
        226,
        *range(300, 306),
        307,
        308,
        *range(400, 418),
        *range(421, 425),
        426,
        428,
        429,
        431,
        *range(500, 509),
        510,
        511,
    )
)


def problems(providers: Iterable[ExtensionProvider], path: str) -> Iterator[Problem]:
    """What cannot be meant so, each at its field below `path`."""
    known: set[str] = set()
    for index, provider in enumerate(providers):
        where = f"{path}[{index}]"
        if not provider.name:
            yield problem("DRG0308", f"{where}.name", "a provider needs a name")
        elif provider.name in known:
            yield problem("DRG0309", f"{where}.name", f"another provider is called {provider.name!r}")
        known.add(provider.name)
        http, grpc = provider.envoy_ext_authz_http, provider.envoy_ext_authz_grpc
        if http is not None and grpc is not None:
            message = "envoyExtAuthzHttp and envoyExtAuthzGrpc exclude each other"
            yield problem("DRG0307", where, message, "make two providers of it")
        if http is not None:
            yield from _service(http, f"{where}.envoyExtAuthzHttp")
            yield from _http(http, f"{where}.envoyExtAuthzHttp")
        if grpc is not None:
            yield from _service(grpc, f"{where}.envoyExtAuthzGrpc")


def obstacles(providers: Iterable[ExtensionProvider]) -> dict[str, str]:
    """Why a policy could ask none of them, by name; empty for those that it could. The first of a name counts."""
    found: dict[str, str] = {}
    for provider in providers:
        why = (
            "" if provider.authorizer is not None else f"extensionProvider {provider.name!r} is no external authorizer"
        )
        found.setdefault(provider.name, why)
    return found


def unaskable(policy: AuthorizationPolicy, known: Mapping[str, str]) -> Problem | None:
    """That nobody can be asked for a policy, given what keeps each provider from it (`obstacles`).

    What the policy's rules match is denied then (Istio: pilot/pkg/security/authz/builder/builder.go); a dry run asks
    nobody anyway.
    """
    wanted = policy.spec.provider
    if policy.spec.action is not Action.CUSTOM or policy.dry_run or wanted is None or not wanted.name:
        return None
    why = known.get(wanted.name, f"the mesh has no extensionProvider {wanted.name!r}")
    if not why:
        return None
    message = f"{why}: nobody can be asked, and what the rules match is denied"
    remedy = "set envoyExtAuthzHttp or envoyExtAuthzGrpc under this name in the mesh's extensionProviders"
    return problem("DRG0413", "spec.provider.name", message, remedy)


def _service(provider: EnvoyExtAuthzHttp | EnvoyExtAuthzGrpc, path: str) -> Iterator[Problem]:
    namespace, slash, host = provider.service.rpartition("/")
    if not host or (slash and not namespace):
        yield problem("DRG0301", f"{path}.service", "not a host, or a namespace and a host", "write [namespace/]host")
    if not 1 <= provider.port <= 65535:
        yield problem("DRG0302", f"{path}.port", f"{provider.port} is not a port", "1 to 65535")
    if provider.timeout is not None and provider.timeout < timedelta(milliseconds=1):
        yield problem("DRG0303", f"{path}.timeout", "must be at least 1ms")
    status = provider.status_on_error
    if status and not (status.isascii() and status.isdecimal() and int(status) in _STATUSES):
        yield problem("DRG0314", f"{path}.statusOnError", f"{status!r} is no status to answer with", "such as 503")
    body = provider.include_request_body_in_check
    if body is not None and not body.max_request_bytes:
        yield problem("DRG0314", f"{path}.includeRequestBodyInCheck.maxRequestBytes", "must be at least 1")


def _http(provider: EnvoyExtAuthzHttp, path: str) -> Iterator[Problem]:
    if provider.path_prefix and not provider.path_prefix.startswith("/"):
        yield problem("DRG0314", f"{path}.pathPrefix", "a path begins with /")
    if provider.include_headers_in_check:
        remedy = "write includeRequestHeadersInCheck"
        yield problem("DRG0401", f"{path}.includeHeadersInCheck", "deprecated", remedy)
    fields = {
        "includeHeadersInCheck": provider.include_headers_in_check,
        "includeRequestHeadersInCheck": provider.include_request_headers_in_check,
        "headersToUpstreamOnAllow": provider.headers_to_upstream_on_allow,
        "headersToDownstreamOnDeny": provider.headers_to_downstream_on_deny,
        "headersToDownstreamOnAllow": provider.headers_to_downstream_on_allow,
    }
    for name, value in provider.include_additional_headers_in_check.items():
        where = f"{path}.includeAdditionalHeadersInCheck[{name}]"
        yield from names.header(name, where)
        yield from bounds.one_line(value, where)
    for name, headers in fields.items():
        for index, header in enumerate(headers):
            if not header.strip("*") or "*" in header[1:-1]:
                message = f"{header!r} is not a header, `prefix*` or `*suffix`"
                yield problem("DRG0313", f"{path}.{name}[{index}]", message)
