"""RequestAuthentication (Istio: ValidateRequestAuthentication)."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import msgspec

from crds.codes import problem
from crds.problem import Problem
from crds.requestauthentication import JWTRule, RequestAuthentication
from crds.validate import attachment, bounds, names


def check(obj: RequestAuthentication) -> Iterator[Problem]:
    spec = obj.spec
    yield from attachment.policy(spec.selector, spec.target_ref, spec.target_refs)
    for index, rule in enumerate(spec.jwt_rules):
        yield from _rule(rule, f"spec.jwtRules[{index}]")


def _rule(rule: JWTRule, path: str) -> Iterator[Problem]:
    sources = [
        name
        for name, held in (("jwksUri", rule.jwks_uri), ("jwks_uri", rule.jwks_uri_alias), ("jwks", rule.jwks))
        if held
    ]
    if len(sources) > 1:
        yield problem("DRG0307", path, f"{' and '.join(sources)} exclude each other", "keep one of them")
    for name, uri in (("jwksUri", rule.jwks_uri), ("jwks_uri", rule.jwks_uri_alias)):
        if uri is not None and not _is_http(uri):
            yield problem("DRG0314", f"{path}.{name}", f"{uri!r} is not an http or https URL")
    if rule.jwks:
        try:
            msgspec.json.decode(rule.jwks, type=dict[str, object])
        except msgspec.DecodeError:
            yield problem("DRG0314", f"{path}.jwks", "not a JSON Web Key Set", 'a JSON object with "keys"')
    for index, header in enumerate(rule.from_headers):
        yield from names.header(header.name, f"{path}.fromHeaders[{index}].name")
    for field, values in (
        ("audiences", rule.audiences),
        ("fromParams", rule.from_params),
        ("fromCookies", rule.from_cookies),
    ):
        for index, value in enumerate(values):
            if not value:
                yield problem("DRG0308", f"{path}.{field}[{index}]", "an empty value", "remove it")
    if rule.output_payload_to_header:
        yield from names.header(rule.output_payload_to_header, f"{path}.outputPayloadToHeader")
    yield from bounds.duration(rule.timeout, f"{path}.timeout")


def _is_http(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
