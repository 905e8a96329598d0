"""MeshConfig.extensionProviders: what is read, and what cannot be meant so."""

from __future__ import annotations

from datetime import timedelta

import pytest
from envoy_data_plane.envoy.type.v3 import StatusCode

from crds.meshconfig import read
from crds.problem import Invalid
from crds.validate.extensionproviders import _STATUSES

SERVICE = "service: guard.guards.svc.cluster.local, port: 8000"


def provider(fields: str, kind: str = "envoyExtAuthzHttp") -> str:
    return f"extensionProviders: [{{name: guard, {kind}: {{{fields}}}}}]"


def errors(text: str) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as caught:
        read(text)
    return [(problem.code, problem.path) for problem in caught.value.problems]


def test_every_field_is_read() -> None:
    config, problems = read(
        provider(
            f"{SERVICE}, timeout: 2s, pathPrefix: /check, failOpen: true, clearRouteCache: true, statusOnError: '503',"
            " includeRequestHeadersInCheck: [cookie, x-*, '*-id'], includeAdditionalHeadersInCheck: {x-a: b},"
            " includeRequestBodyInCheck: {maxRequestBytes: 10, allowPartialMessage: true, packAsBytes: true},"
            " headersToUpstreamOnAllow: [x-user], headersToDownstreamOnDeny: [x-why],"
            " headersToDownstreamOnAllow: [x-ok]"
        )
    )
    asked = config.extension_providers[0].envoy_ext_authz_http
    assert not problems
    assert asked is not None
    assert asked is config.extension_providers[0].authorizer
    assert (asked.timeout, asked.path_prefix, asked.fail_open) == (timedelta(seconds=2), "/check", True)
    assert (asked.clear_route_cache, asked.status_on_error) == (True, "503")
    assert asked.include_request_headers_in_check == ("cookie", "x-*", "*-id")
    assert asked.include_additional_headers_in_check == {"x-a": "b"}
    body = asked.include_request_body_in_check
    assert body is not None
    assert (body.max_request_bytes, body.allow_partial_message, body.pack_as_bytes) == (10, True, True)
    assert asked.headers_to_upstream_on_allow == ("x-user",)
    assert asked.headers_to_downstream_on_deny == ("x-why",)
    assert asked.headers_to_downstream_on_allow == ("x-ok",)


def test_headers_under_their_old_name_are_read_with_a_warning() -> None:
    config, problems = read(provider(f"{SERVICE}, includeHeadersInCheck: [x-a]"))
    assert [(each.code, each.path) for each in problems] == [
        ("DRG0401", "extensionProviders[0].envoyExtAuthzHttp.includeHeadersInCheck")
    ]
    asked = config.extension_providers[0].envoy_ext_authz_http
    assert asked is not None
    assert asked.include_headers_in_check == ("x-a",)


@pytest.mark.parametrize("kind", ["envoyExtAuthzHttp", "envoyExtAuthzGrpc"])
@pytest.mark.parametrize(
    ("fields", "code", "at"),
    [
        ("service: '', port: 1", "DRG0301", "service"),
        ("service: /guard, port: 1", "DRG0301", "service"),
        ("service: guards/, port: 1", "DRG0301", "service"),
        ("service: guard, port: 0", "DRG0302", "port"),
        ("service: guard, port: 65536", "DRG0302", "port"),
        (f"{SERVICE}, timeout: 0s", "DRG0303", "timeout"),
        (f"{SERVICE}, timeout: -1s", "DRG0303", "timeout"),
        (f"{SERVICE}, statusOnError: '100'", "DRG0314", "statusOnError"),
        (f"{SERVICE}, statusOnError: '299'", "DRG0314", "statusOnError"),
        (f"{SERVICE}, statusOnError: '600'", "DRG0314", "statusOnError"),
        (f"{SERVICE}, statusOnError: '٥٠٣'", "DRG0314", "statusOnError"),
        (f"{SERVICE}, statusOnError: no", "DRG0102", "statusOnError"),
        (f"{SERVICE}, includeRequestBodyInCheck: {{}}", "DRG0314", "includeRequestBodyInCheck.maxRequestBytes"),
    ],
)
def test_what_cannot_be_meant_so_is_an_error_at_its_field(kind: str, fields: str, code: str, at: str) -> None:
    assert errors(provider(fields, kind)) == [(code, f"extensionProviders[0].{kind}.{at}")]


@pytest.mark.parametrize(
    ("fields", "code", "at"),
    [
        ("pathPrefix: check", "DRG0314", "pathPrefix"),
        ("includeRequestHeadersInCheck: ['*']", "DRG0313", "includeRequestHeadersInCheck[0]"),
        ("headersToUpstreamOnAllow: [ok, a*b]", "DRG0313", "headersToUpstreamOnAllow[1]"),
        ("headersToDownstreamOnDeny: ['']", "DRG0313", "headersToDownstreamOnDeny[0]"),
        ("headersToDownstreamOnAllow: ['**']", "DRG0313", "headersToDownstreamOnAllow[0]"),
        ("includeAdditionalHeadersInCheck: {'a b': c}", "DRG0313", "includeAdditionalHeadersInCheck[a b]"),
        ('includeAdditionalHeadersInCheck: {a: "b\\nc: d"}', "DRG0314", "includeAdditionalHeadersInCheck[a]"),
    ],
)
def test_what_only_an_http_provider_has(fields: str, code: str, at: str) -> None:
    assert errors(provider(f"{SERVICE}, {fields}")) == [(code, f"extensionProviders[0].envoyExtAuthzHttp.{at}")]


def test_providers_are_named_once_and_are_of_one_kind() -> None:
    one = f"envoyExtAuthzGrpc: {{{SERVICE}}}"
    text = f"extensionProviders: [{{name: a, {one}}}, {{name: a, {one}}}, {{name: '', {one}}}]"
    assert errors(text) == [("DRG0309", "extensionProviders[1].name"), ("DRG0308", "extensionProviders[2].name")]
    both = f"extensionProviders: [{{name: a, {one}, envoyExtAuthzHttp: {{{SERVICE}}}}}]"
    assert errors(both) == [("DRG0307", "extensionProviders[0]")]


def test_the_statuses_are_those_that_envoy_answers_with() -> None:
    """Envoy refuses a listener that names another one."""
    assert {int(each.value) for each in StatusCode} - {0, 100} == _STATUSES
