"""RequestAuthentication (Istio: ValidateRequestAuthentication)."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from crds import jwks
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
        elif uri is not None and urlsplit(uri).username is not None:
            message = "the keys of an issuer are public: no user and password are sent to fetch them"
            yield problem("DRG0314", f"{path}.{name}", message, "take them out of the URL")
    if rule.jwks:
        yield from _keys(rule.jwks, f"{path}.jwks")
    for index, header in enumerate(rule.from_headers):
        yield from names.header(header.name, f"{path}.fromHeaders[{index}].name")
        if re.search("[\0\r\n]", header.prefix or ""):
            yield problem("DRG0314", f"{path}.fromHeaders[{index}].prefix", "a line break in a header")
    for field, values in (
        ("audiences", rule.audiences),
        ("fromParams", rule.from_params),
        ("fromCookies", rule.from_cookies),
        ("spaceDelimitedClaims", rule.space_delimited_claims),
    ):
        for index, value in enumerate(values):
            if not value:
                yield problem("DRG0308", f"{path}.{field}[{index}]", "an empty value", "remove it")
    if rule.output_payload_to_header:
        yield from names.header(rule.output_payload_to_header, f"{path}.outputPayloadToHeader")
    yield from bounds.duration(rule.timeout, f"{path}.timeout")


def _keys(text: str, path: str) -> Iterator[Problem]:
    """Keys that Envoy would not take are left out, and what they signed is refused."""
    try:
        found = jwks.read(text, shared_secrets=True)
    except jwks.KeySetError as error:
        yield problem("DRG0314", path, f"not a JSON Web Key Set: {error}", 'a JSON object with "keys"')
        return
    for index, reason in found.passed_over:
        yield problem("DRG0412", f"{path}.keys[{index}]", f"this key is not used: {reason}")
    if not found.keys:
        yield problem("DRG0412", path, "no key verifies anything: every token of the issuer is refused")


def _is_http(uri: str) -> bool:
    if not re.fullmatch(r"[!-~]+", uri):
        return False
    try:
        parts = urlsplit(uri)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
