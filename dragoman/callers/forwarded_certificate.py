"""Callers behind a gateway that has verified their certificate."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Sequence
from typing import Final
from urllib.parse import unquote

from ca.caller import Caller
from ca.identity import InvalidIdentityError, SpiffeId
from dragoman.callers.credentials import Credentials, NotAuthenticatedError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_PAIR: Final = re.compile(r'([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^;,"]*)')


class ForwardedCertificate:
    """Believes the header `x-forwarded-client-cert` of trusted gateways, and of nobody else (Istio:
    TRUSTED_GATEWAY_CIDR, security/pkg/server/ca/authenticate/xfcc.go).

    Of several elements the last counts: it is the one that the gateway itself has added about its own client. Unlike
    Istio, loopback addresses are trusted only if they are listed.
    """

    name = "xfcc"

    def __init__(self, gateways: Sequence[Network], trust_domains: Callable[[], Collection[str]]) -> None:
        self._gateways = tuple(gateways)
        self._trust_domains = trust_domains

    async def authenticate(self, credentials: Credentials) -> Caller | None:
        if credentials.xfcc is None or not self._gateways:
            return None
        if not self._trusts(credentials.address):
            raise NotAuthenticatedError("x-forwarded-client-cert comes from a peer that is no trusted gateway")
        uris = [value for key, value in _last_element(credentials.xfcc) if key == "uri"]
        if len(uris) != 1:
            raise NotAuthenticatedError("x-forwarded-client-cert does not name one URI")
        try:
            identity = SpiffeId.parse(uris[0])
        except InvalidIdentityError as error:
            raise NotAuthenticatedError(f"x-forwarded-client-cert names no workload: {error}") from None
        if identity.trust_domain not in self._trust_domains():
            raise NotAuthenticatedError(f"trust domain {identity.trust_domain!r} is not this mesh's")
        return Caller((identity,), self.name)

    def _trusts(self, peer: str) -> bool:
        host = unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]")
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return any((mapped or address) in network for network in self._gateways)


def _last_element(header: str) -> list[tuple[str, str]]:
    """Key-value pairs of the last element (Envoy: x-forwarded-client-cert), keys in lower case.

    Raises `NotAuthenticatedError` for text that is not such a header: nothing is guessed here.
    """
    pairs: list[tuple[str, str]] = []
    position = 0
    while True:
        match = _PAIR.match(header, position)
        if match is None:
            raise NotAuthenticatedError("x-forwarded-client-cert is malformed")
        key, value = match.groups()
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        pairs.append((key.lower(), value))
        position = match.end()
        if position == len(header):
            return pairs
        separator = header[position]
        position += 1
        if separator == ",":
            pairs = []
        elif separator != ";":
            raise NotAuthenticatedError("x-forwarded-client-cert is malformed")
