"""Domain names, labels, header names, visibility: the names that fields hold."""

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence

from crds.codes import problem
from crds.problem import Problem

# RFC 1123; Istio admits an underscore nowhere but in the first label of a wildcard-free host (SRV records).
_LABEL = re.compile(r"[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?")
_HOST_LABEL = re.compile(r"[a-zA-Z0-9_](?:[-a-zA-Z0-9_]{0,61}[a-zA-Z0-9_])?")
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LABEL_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2


def is_dns_label(text: str) -> bool:
    return _LABEL.fullmatch(text) is not None


def is_subdomain(text: str) -> bool:
    """A Kubernetes object name."""
    return len(text) <= 253 and _SUBDOMAIN.fullmatch(text) is not None


def is_fqdn(text: str) -> bool:
    """A domain name, short or full; a trailing dot is allowed."""
    name = text.removesuffix(".")
    return 0 < len(name) <= 255 and all(_HOST_LABEL.fullmatch(label) for label in name.split("."))


def is_wildcard_domain(text: str) -> bool:
    """A domain name, or one whose first label is or begins with `*` (`*`, `*.example.com`, `*-a.example.com`)."""
    if text == "*":
        return True
    if len(text) > 256:
        return False
    if not text.startswith("*"):
        return is_fqdn(text)
    head, _, rest = text[1:].partition(".")
    return (not head or _HOST_LABEL.fullmatch(head.lstrip("-")) is not None) and is_fqdn(rest)


def is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_cidr(text: str) -> bool:
    """An address, or a prefix such as 10.0.0.0/8 (host bits may be set, as Go's parser allows)."""
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return False
    # Python admits netmasks ("/255.0.0.0"), Go and Envoy do not.
    _, slash, length = text.partition("/")
    return not slash or length.isdecimal()


def is_token(text: str) -> bool:
    """A name that HTTP allows for a header."""
    return _TOKEN.fullmatch(text) is not None


def host(text: str, path: str, *, wildcard: bool = True, ip: bool = False) -> Iterator[Problem]:
    """A host that is no domain name (or address where those are allowed)."""
    if not ((is_wildcard_domain(text) if wildcard else is_fqdn(text)) or (ip and is_ip(text))):
        kind = "a domain name or wildcard such as *.example.com" if wildcard else "a domain name without wildcard"
        yield problem("DRG0301", path, f"{text!r} is not {kind}")


def labels(values: Mapping[str, str], path: str) -> Iterator[Problem]:
    """Labels that Kubernetes would refuse."""
    for key, value in values.items():
        prefix, slash, name = key.rpartition("/")
        if not _LABEL_NAME.fullmatch(name) or (slash and not is_subdomain(prefix)):
            yield problem("DRG0312", f"{path}[{key}]", f"{key!r} is not a label key")
        if not _LABEL_VALUE.fullmatch(value):
            yield problem("DRG0312", f"{path}[{key}]", f"{value!r} is not a label value")


def header(name: str, path: str, *, pseudo: frozenset[str] = frozenset()) -> Iterator[Problem]:
    """A name that HTTP does not allow for a header. `pseudo` are the pseudo-headers that may be named here."""
    if not is_token(name) and name not in pseudo:
        yield problem("DRG0313", path, f"{name!r} is not a header name")


def visibility(values: Sequence[str], path: str) -> Iterator[Problem]:
    """`exportTo`: `.`, `*`, `~` or namespaces; `*` and `~` stand alone (Istio: validateExportTo)."""
    for index, value in enumerate(values):
        where = f"{path}[{index}]"
        if value not in (".", "*", "~") and not is_dns_label(value):
            yield problem("DRG0301", where, f"{value!r} is not a namespace", "use a namespace, . (own), * (all) or ~")
        if value in values[:index]:
            yield problem("DRG0309", where, f"{value!r} is listed twice")
        if value in ("*", "~") and len(set(values)) > 1:
            yield problem("DRG0311", where, f"{value!r} excludes every other entry", "keep one or the other")
