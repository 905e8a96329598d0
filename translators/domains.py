"""Names under which a client reaches a service: the domains of its virtual host.

Istio: pilot/pkg/networking/core/httproute.go (generateVirtualHostDomains, GenerateAltVirtualHosts).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from dragoman.mesh.hosts import service_of_host
from dragoman.mesh.services import Service

HTTP_PORT = 80
"""The port that a client leaves out of the Host header."""


def host_names(host: str, client: str) -> tuple[str, ...]:
    """The DNS names of `host` as pods of namespace `client` may write them, short ones by their search path."""
    found = service_of_host(host)
    if found is None:
        return (host.lower(),)
    namespace, name = found
    short = (name,) if namespace == client else ()
    return (host, f"{host}.", *short, f"{name}.{namespace}.svc", f"{name}.{namespace}")


def service_domains(service: Service, aliases: Iterable[str], client: str) -> tuple[str, ...]:
    """Domains of a service: its names, those of ExternalNames that lead to it, its virtual IPs.

    A headless service answers for its pods too, `pod-0.host`.
    """
    names = [name for host in (service.host, *aliases) for name in host_names(host, client)]
    pods = [f"*.{name}" for name in names] if service.headless else []
    return tuple(dict.fromkeys((*names, *map(_literal, service.addresses), *pods)))


def with_port(domains: Iterable[str], port: int) -> tuple[str, ...]:
    """The domains where the port tells services apart, as it does for an HTTP proxy that serves them all on one
    listener: only port 80 may be left out (Istio: mergeAllVirtualHosts)."""
    listed = tuple(domains)
    return (*(listed if port == HTTP_PORT else ()), *(f"{domain}:{port}" for domain in listed))


def _literal(address: str) -> str:
    return f"[{address}]" if ip_address(address).version == 6 else address
