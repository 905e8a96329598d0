"""Names, hosts, addresses and durations as schemas can describe them.

Each pattern lets everything pass that `crds.validate` lets pass: where a regular expression cannot say all of a rule,
it says less, and the admission webhook the rest.
"""

from typing import Any, Final

from crds.manifests.constraint import Rule, rules

# The same as in crds.validate.names.
_LABEL = "[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?"
_HOST_LABEL = "[a-zA-Z0-9_](?:[-a-zA-Z0-9_]{0,61}[a-zA-Z0-9_])?"
_DOMAIN = rf"{_HOST_LABEL}(?:\.{_HOST_LABEL})*\.?"
_WILDCARD = rf"\*(?:-*{_HOST_LABEL})?\.{_DOMAIN}"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_IPV6 = rf"[0-9A-Fa-f:]*:[0-9A-Fa-f:]*(?:{_IPV4})?"
_CIDR = rf"{_IPV4}(?:/0*(?:3[0-2]|[12]?[0-9]))?|{_IPV6}(?:/0*(?:12[0-8]|1[01][0-9]|[1-9]?[0-9]))?"
# Envoy: source/extensions/path/uri_template_lib; crds.validate.authorizationpolicy says the same of templates.
_SEGMENTS = "(?:/[a-zA-Z0-9._~%!$&'()+,;:@=-]*)*"
_ONE = rf"/\{{\*\}}{_SEGMENTS}"
_TEMPLATE = rf"{_SEGMENTS}(?:(?:{_ONE}){{0,5}}|(?:{_ONE}){{0,4}}/\{{\*\*\}}{_SEGMENTS})"
HEADER_NAME = "[-!#$%&'*+.^_`|~0-9A-Za-z]+"
_UNIX = r"unix://[/@][\s\S]*"


def text(name: str, pattern: str, **keywords: Any) -> dict[str, Any]:
    """Keywords of a string that is as a whole what the expression says.

    Who breaks it is shown the expression: it begins with the name of what is expected.
    """
    return {"pattern": f"^(?<{name}>{pattern})$", **keywords}


def optional(name: str, pattern: str) -> dict[str, Any]:
    """The same, or empty, which means: not set."""
    return text(name, f"|{pattern}")


def any_case(*words: str) -> str:
    """One of the words in any case, for readers of expressions that know no flags."""
    return "|".join("".join(f"[{c}{c.lower()}]" if c.isalpha() else c for c in word) for word in words)


def items(keywords: dict[str, Any], **of_list: Any) -> dict[str, Any]:
    """Keywords of each item of a list, and of the list."""
    return {"items": keywords, **of_list}


def values(keywords: dict[str, Any], **of_map: Any) -> dict[str, Any]:
    """Keywords of each value of a map, and of the map."""
    return {"additionalProperties": keywords, **of_map}


LABEL: Final = text("name", _LABEL)
"""A label of a domain name: namespaces, subsets, ports."""
OPTIONAL_LABEL: Final = optional("name", _LABEL)
HOST: Final = text("host_or_wildcard", rf"\*|{_WILDCARD}|{_DOMAIN}")
HOST_OR_IP: Final = text("host_or_wildcard_or_IP", rf"\*|{_WILDCARD}|{_DOMAIN}|{_IPV6}")
NAMED_HOST_OR_IP: Final = text("host_or_wildcard_or_IP", rf"{_WILDCARD}|{_DOMAIN}|{_IPV6}")
"""Not `*` alone."""
DOMAIN_OR_IP: Final = text("host_or_IP", rf"{_DOMAIN}|{_IPV6}")
GATEWAY_NAME: Final = text("name_or_namespace_and_name", rf"(?:{_LABEL}/)?{_DOMAIN}")
GATEWAY_HOST: Final = text(
    "host_or_namespace_and_host", rf"(?:(?:\*|\.|{_LABEL})/)?(?:\*|{_WILDCARD}|{_DOMAIN}|{_IPV6})"
)
EGRESS_HOST: Final = text("namespace_and_host", rf"(?:\*|\.|~|~?{_LABEL})/(?:\*|{_WILDCARD}|{_DOMAIN})")
SUBJECT_NAME: Final = text("host_or_wildcard_or_IP_or_URI", rf"\*|{_WILDCARD}|{_DOMAIN}|{_IPV6}|[\s\S]*://[\s\S]*")
EXPORT_TO: Final = text("namespace_or_dot_or_star_or_tilde", rf"[.*~]|{_LABEL}")
CIDR: Final = text("IP_or_CIDR", _CIDR)
SHORT_CIDR: Final = text("IP_or_CIDR", _CIDR, maxLength=64)
"""The same for rules in CEL that look into it, whose cost depends on its length."""
PATH: Final = text("path_or_template", rf"[^{{}}]+|{_TEMPLATE}")
"""A path, perhaps with `*`, or a template of paths."""
BIND: Final = optional("IP_or_unix_socket", rf"{_IPV4}|{_IPV6}|{_UNIX}")
BIND_ADDRESS: Final = optional("IP", rf"{_IPV4}|{_IPV6}")
LOCAL_ENDPOINT: Final = optional(
    "local_address_and_port_or_unix_socket",
    rf"{_UNIX}|(?:127\.[0-9]{{1,3}}\.[0-9]{{1,3}}\.[0-9]{{1,3}}|0\.0\.0\.0|\[::1\]|\[::\]):[0-9]+",
)
WORKLOAD_ADDRESS: Final = optional("IP_or_host_or_unix_socket", rf"unix://(?:@[\s\S]*|/[\s\S]*[^/])|{_DOMAIN}|{_IPV6}")
TOKEN: Final = text("header_name", HEADER_NAME)
"""The name of a header."""
OPTIONAL_TOKEN: Final = optional("header_name", HEADER_NAME)
ONE_LINE: Final = text("one_line", r"[^\x00\r\n]*")
SOME_LINE: Final = text("one_line", r"[^\x00\r\n]+")
LABEL_VALUES: Final = values(text("label_value", "(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"))
PORT: Final = {"minimum": 1, "maximum": 65535}
PORT_TEXT: Final = text(
    "port",
    "0*(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])",
)
NOT_NEGATIVE: Final = {"minimum": 0}
PERCENTAGE: Final = {"minimum": 0, "maximum": 100}
STATUS: Final = {"minimum": 200, "maximum": 599}
NOT_EMPTY: Final = {"minLength": 1}
REGEX: Final = {"minLength": 1, "maxLength": 1024}

DURATION: Final = Rule("duration(self) >= duration('1ms')", "a duration of at least 1ms, such as 5s", "DRG0303")
DURATION_OR_ZERO: Final = rules(
    Rule("duration(self) >= duration('0s')", "a duration of at least 0s, such as 5s", "DRG0303")
)
