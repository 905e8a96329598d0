"""Host names: how short names resolve and which wildcards cover a host.

Istio resolves a short name in the namespace of the object that uses it (Istio: pkg/config/host, ResolveShortnameToFQDN)
and prefers an exact host to a wildcard, and of wildcards the longest.
"""

from __future__ import annotations

DOMAIN = "cluster.local"
"""The cluster's DNS domain, Istio's `--domain`."""


def service_host(namespace: str, name: str) -> str:
    """The fully qualified host of a Kubernetes Service."""
    return f"{name}.{namespace}.svc.{DOMAIN}"


def service_of_host(host: str) -> tuple[str, str] | None:
    """`(namespace, name)` of the Kubernetes Service a fully qualified host would be, else None."""
    suffix = f".svc.{DOMAIN}"
    if not host.endswith(suffix):
        return None
    parts = host[: -len(suffix)].split(".")
    return (parts[1], parts[0]) if len(parts) == 2 else None


def resolve(host: str, namespace: str) -> str:
    """The full name of `host` as written in an object of `namespace`: only names without a dot are short."""
    if host == "*" or "." in host:
        return host
    return service_host(namespace, host)


def wildcard_over(host: str) -> str:
    """The most specific wildcard that covers `host`; a wildcard covers itself."""
    if host.startswith("*"):
        return host
    _, dot, parent = host.partition(".")
    return f"*.{parent}" if dot else "*"


def wildcards_of(host: str) -> tuple[str, ...]:
    """Every wildcard that covers `host`, most specific first, ending with `*`."""
    labels = host.removeprefix("*.").split(".")
    start = 0 if host.startswith("*.") else 1
    return (*("*." + ".".join(labels[i:]) for i in range(start, len(labels))), "*")


def matches(pattern: str, host: str) -> bool:
    """Whether `pattern` (exact or `*.suffix` or `*`) covers `host` (which may be a wildcard itself)."""
    if pattern == "*":
        return True
    if pattern.startswith("*"):
        return host.endswith(pattern[1:]) and len(host) >= len(pattern)
    return pattern == host
