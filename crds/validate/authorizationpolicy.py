"""AuthorizationPolicy (Istio: ValidateAuthorizationPolicy)."""

import re
from collections.abc import Iterator

from crds.authorizationpolicy import DRY_RUN, Action, AuthorizationPolicy, Condition, Operation, Rule, Source
from crds.codes import problem
from crds.problem import Problem
from crds.validate import attachment, bounds, names

# Istio: pkg/config/security/security.go ValidateAttribute
PLAIN_KEYS = frozenset(
    (
        "source.ip",
        "remote.ip",
        "source.namespace",
        "source.principal",
        "source.serviceAccount",
        "source.trustDomain",
        "request.auth.principal",
        "request.auth.audiences",
        "request.auth.presenter",
        "destination.ip",
        "destination.port",
        "connection.sni",
    )
)
_KEYED = re.compile(
    r"(request\.headers|request\.auth\.claims|experimental\.envoy\.filters\.[\w.\-]+)((?:\[[^\[\]]+\])+)"
)
_LITERAL = re.compile(r"[a-zA-Z0-9\-._~%!$&'()+,;:@=]+")  # Envoy: source/extensions/path/uri_template_lib
_MAX_GLOBS = 5
_HTTP_KEYS = ("request.",)
_IP_KEYS = frozenset(("source.ip", "remote.ip", "destination.ip"))
_IDENTITY_KEYS = frozenset(("source.namespace", "source.serviceAccount", "source.principal"))
IDENTITY_SOURCES = (
    "principals",
    "not_principals",
    "request_principals",
    "not_request_principals",
    "namespaces",
    "not_namespaces",
    "service_accounts",
    "not_service_accounts",
)
_HTTP_SOURCES = ("request_principals", "not_request_principals")
_TOLD_BY_BYTES = ("ip_blocks", "not_ip_blocks", "remote_ip_blocks", "not_remote_ip_blocks")
_WHOLE, _NAMESPACE, _BEGINNING = re.compile(r"[^*]*"), re.compile(r"[^*]*\*?"), re.compile(r"\*|([^*].*)?")
_TOLD_BY_HANDSHAKE = {
    "principals": _BEGINNING,
    "not_principals": _BEGINNING,
    "namespaces": _NAMESPACE,
    "not_namespaces": _NAMESPACE,
    "trust_domains": _WHOLE,
    "not_trust_domains": _WHOLE,
}
"""Values that can be names of a TLS context; what else is written, `*/x` say, cannot."""
_HTTP_OPERATIONS = ("hosts", "not_hosts", "methods", "not_methods", "paths", "not_paths")


def check(obj: AuthorizationPolicy) -> Iterator[Problem]:
    spec = obj.spec
    if obj.dry_run is None:
        remedy = 'write "true", or remove it'
        yield problem("DRG0411", f"metadata.annotations[{DRY_RUN}]", "neither true nor false: it decides", remedy)
    yield from attachment.policy(spec.selector, spec.target_ref, spec.target_refs)
    yield from _action(obj)
    for index, rule in enumerate(spec.rules):
        path = f"spec.rules[{index}]"
        found = [*_rule(rule, path), *(_custom(rule, path) if spec.action is Action.CUSTOM else ())]
        yield from found
        if spec.action is Action.DENY:
            yield from _layer_hint(rule, path)
        if spec.action in (None, Action.ALLOW, Action.DENY) and not found and not _of_requests(rule):
            yield from _greeting_hint(rule, path)


def _rule(rule: Rule, path: str) -> Iterator[Problem]:
    for at, source in enumerate(rule.from_):
        yield from _source(source.source, f"{path}.from[{at}].source")
    for at, to in enumerate(rule.to):
        yield from _operation(to.operation, f"{path}.to[{at}].operation")
    for at, condition in enumerate(rule.when):
        yield from _condition(condition, f"{path}.when[{at}]")


def _action(obj: AuthorizationPolicy) -> Iterator[Problem]:
    spec = obj.spec
    if spec.action is Action.CUSTOM:
        if spec.provider is None or not spec.provider.name:
            remedy = "name one of the mesh's extensionProviders"
            yield problem("DRG0316", "spec.provider.name", "CUSTOM needs a provider", remedy)
        if not spec.rules:
            yield problem("DRG0308", "spec.rules", "CUSTOM needs rules", "an empty rule, {}, asks about every request")
    elif spec.provider is not None:
        yield problem("DRG0311", "spec.provider", "a provider has its place with action CUSTOM only", "remove it")
    if spec.action is Action.DENY and not spec.rules:
        yield problem(
            "DRG0308", "spec.rules", "DENY without rules denies nothing", "an empty rule, {}, denies everything"
        )
    if spec.action is Action.AUDIT and not spec.rules:
        yield problem("DRG0405", "spec.rules", "AUDIT without rules records nothing", "an empty rule, {}, records all")


def _values(held: Source | Operation, path: str) -> Iterator[Problem]:
    for name in held.__struct_fields__:
        field = _json_name(name)
        for index, value in enumerate(getattr(held, name)):
            if not value:
                yield problem("DRG0308", f"{path}.{field}[{index}]", "an empty value matches nothing", "remove it")


def _json_name(attribute: str) -> str:
    head, *rest = attribute.split("_")
    return head + "".join(part.title() for part in rest)


def _source(source: Source | None, path: str) -> Iterator[Problem]:
    if source is None or source == Source():
        yield problem("DRG0308", path, "the source names nothing", "leave `from` out to match every source")
        return
    yield from _values(source, path)
    for name in ("ip_blocks", "not_ip_blocks", "remote_ip_blocks", "not_remote_ip_blocks"):
        for index, block in enumerate(getattr(source, name)):
            if block:
                yield from bounds.cidr(block, f"{path}.{_json_name(name)}[{index}]")
    by_account = source.service_accounts or source.not_service_accounts
    if by_account and (source.principals or source.not_principals or source.namespaces or source.not_namespaces):
        message = "serviceAccounts exclude principals and namespaces"
        yield problem("DRG0311", path, message, "a service account names its namespace: namespace/account")
    for name in ("service_accounts", "not_service_accounts"):
        for index, account in enumerate(getattr(source, name)):
            if "*" in account or account.count("/") > 1:
                where = f"{path}.{_json_name(name)}[{index}]"
                yield problem("DRG0314", where, f"{account!r} is not account or namespace/account")


def _operation(operation: Operation | None, path: str) -> Iterator[Problem]:
    if operation is None or operation == Operation():
        yield problem("DRG0308", path, "the operation names nothing", "leave `to` out to match every operation")
        return
    yield from _values(operation, path)
    for name in ("ports", "not_ports"):
        for index, port in enumerate(getattr(operation, name)):
            where = f"{path}.{_json_name(name)}[{index}]"
            if not port.isdecimal():
                yield problem("DRG0302", where, f"{port!r} is not a port", "ports go from 1 to 65535, no wildcards")
            else:
                yield from bounds.port(int(port), where)
    for name in ("paths", "not_paths"):
        for index, text in enumerate(getattr(operation, name)):
            yield from _path(text, f"{path}.{_json_name(name)}[{index}]")


def _path(text: str, path: str) -> Iterator[Problem]:
    """Path templates: `{*}` is one segment, `{**}` any number, at most once (Istio: CheckValidPathTemplate)."""
    if "{" not in text and "}" not in text:
        return
    segments = text.split("/")[1:]
    globs = [segment for segment in segments if segment in ("{*}", "{**}")]
    literals = [segment for segment in segments if segment and segment not in globs]
    if any("{" in segment or "}" in segment for segment in literals):
        yield problem("DRG0314", path, f"{text!r} is not a path template", "{*} or {**} fill a whole segment")
    elif any("*" in segment for segment in literals):
        yield problem("DRG0311", path, "a template takes no * outside of braces")
    elif "{**}" in globs[:-1]:
        yield problem("DRG0314", path, "{**} may stand once, with no {*} behind it")
    elif len(globs) > _MAX_GLOBS:
        yield problem("DRG0314", path, f"more than {_MAX_GLOBS} of {{*}} and {{**}}", "write several paths")
    elif not text.startswith("/") or not all(_LITERAL.fullmatch(segment) for segment in literals):
        yield problem("DRG0314", path, f"{text!r} is not a path", "a path begins with /, other characters are %XX")


def _condition(condition: Condition, path: str) -> Iterator[Problem]:
    keyed = _KEYED.fullmatch(condition.key)
    if condition.key not in PLAIN_KEYS and keyed is None:
        remedy = "such as request.headers[name], source.ip, request.auth.claims[name], destination.port"
        yield problem("DRG0314", f"{path}.key", f"{condition.key!r} is not a key of conditions", remedy)
    if condition.key.startswith("request.headers[") and keyed is not None:
        yield from names.header(condition.key[len("request.headers[") : -1].removeprefix(":"), f"{path}.key")
    if not condition.values and not condition.not_values:
        yield problem("DRG0308", path, "the condition compares with nothing", "add values or notValues")
    for field, values in (("values", condition.values), ("notValues", condition.not_values)):
        for index, value in enumerate(values):
            where = f"{path}.{field}[{index}]"
            if not value:
                yield problem("DRG0308", where, "an empty value matches nothing", "remove it")
            elif condition.key in _IP_KEYS:
                yield from bounds.cidr(value, where)
            elif condition.key == "destination.port" and not (value.isdecimal() and 1 <= int(value) <= 65535):
                yield problem("DRG0302", where, f"{value!r} is not a port")


def _custom(rule: Rule, path: str) -> Iterator[Problem]:
    """Istio asks the provider before it knows the peer: conditions on identity are not allowed."""
    for at, held in enumerate(rule.from_):
        source = held.source or Source()
        for name in IDENTITY_SOURCES:
            if getattr(source, name):
                where = f"{path}.from[{at}].source.{_json_name(name)}"
                yield problem("DRG0311", where, "CUSTOM does not support conditions on identity", "remove it")
    for at, condition in enumerate(rule.when):
        if condition.key in _IDENTITY_KEYS or condition.key.startswith("request.auth."):
            yield problem("DRG0311", f"{path}.when[{at}].key", f"CUSTOM does not support {condition.key}", "remove it")


def _layer_hint(rule: Rule, path: str) -> Iterator[Problem]:
    """On ports that carry plain TCP a DENY rule keeps only what TCP knows (Istio: pilot/pkg/security/authz/model)."""
    operations = [to.operation for to in rule.to if to.operation is not None]
    ports = any(operation.ports for operation in operations) or any(c.key == "destination.port" for c in rule.when)
    if _of_requests(rule) and not ports:
        message = "on TCP ports the HTTP conditions fall away: what remains of the rule denies there"
        yield problem("DRG0404", path, message, "name the HTTP ports in to.operation.ports")


def _of_requests(rule: Rule) -> bool:
    """Whether the rule has conditions that only requests can meet."""
    return (
        any(getattr(each.source, name) for each in rule.from_ if each.source is not None for name in _HTTP_SOURCES)
        or any(getattr(to.operation, name) for to in rule.to if to.operation is not None for name in _HTTP_OPERATIONS)
        or any(condition.key.startswith(_HTTP_KEYS) for condition in rule.when)
    )


def _greeting_hint(rule: Rule, path: str) -> Iterator[Problem]:
    """What the TLS handshake cannot decide is left to Envoy's RBAC, which runs when the client says something."""
    where = [f"{path}.when[{at}]" for at in range(len(rule.when))]
    for at, held in enumerate(rule.from_):
        source = held.source or Source()
        late = [name for name in _TOLD_BY_BYTES if getattr(source, name)]
        late += (n for n, told in _TOLD_BY_HANDSHAKE.items() if not all(map(told.fullmatch, getattr(source, n))))
        where += (f"{path}.from[{at}].source.{_json_name(name)}" for name in late)
    for each in where:
        message = "on TCP ports this is checked at the client's first byte: a server that speaks first has greeted it"
        remedy = "where that matters name whole principals, namespaces or service accounts only"
        yield problem("DRG0410", each, message, remedy)
