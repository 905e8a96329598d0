"""A DNS server for pods: addresses by name, and aliases (RFC 1035)."""

import asyncio
import ipaddress
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

from e2e.harness.namespaces import Namespace

_A, _CNAME, _ANY = 1, 5, 255
_IN = 1
_TTL_SECONDS = 5
_NO_ERROR, _FORMAT_ERROR, _NO_SUCH_NAME = 0, 1, 3
_RESPONSE, _AUTHORITATIVE, _RECURSION_AVAILABLE = 0x8000, 0x0400, 0x0080
_RECURSION_DESIRED, _OPCODE = 0x0100, 0x7800

Addresses = Callable[[str], tuple[str, ...] | None]
"""The IPv4 addresses of a name without its last dot, in lower case; None when there is no such name."""
Alias = Callable[[str], str | None]
"""The name that a name stands for."""


class _Responder(asyncio.DatagramProtocol):
    def __init__(self, addresses: Addresses, alias: Alias) -> None:
        self._addresses = addresses
        self._alias = alias

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self._transport.sendto(answer(data, self._addresses, self._alias), address)


@asynccontextmanager
async def serving(node: Namespace, address: str, addresses: Addresses, alias: Alias) -> AsyncIterator[None]:
    """Answer questions that come to port 53 of an address of the node."""
    bound = node.socket(socket.SOCK_DGRAM)
    bound.bind((address, 53))
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Responder(addresses, alias), sock=bound)
    try:
        yield
    finally:
        transport.close()


def answer(query: bytes, addresses: Addresses, alias: Alias) -> bytes:
    """The answer to a query of one question, as all of them are."""
    number, flags, questions = struct.unpack_from("!HHH", query)
    reply = _RESPONSE | _AUTHORITATIVE | _RECURSION_AVAILABLE | flags & (_RECURSION_DESIRED | _OPCODE)
    if questions != 1:
        return struct.pack("!HHHHHH", number, reply | _FORMAT_ERROR, 0, 0, 0, 0)
    name, end = _read_name(query, 12)
    kind, _ = struct.unpack_from("!HH", query, end)
    question = query[12 : end + 4]
    records, code = _records(name.lower(), kind, addresses, alias)
    return struct.pack("!HHHHHH", number, reply | code, 1, len(records), 0, 0) + question + b"".join(records)


def _records(name: str, kind: int, addresses: Addresses, alias: Alias) -> tuple[list[bytes], int]:
    records = []
    if (target := alias(name)) is not None:
        records.append(_record(name, _CNAME, _written(target)))
        name = target
        found = addresses(name) or ()
    elif (known := addresses(name)) is None:
        return [], _NO_SUCH_NAME
    else:
        found = known
    if kind in (_A, _ANY):
        records += [_record(name, _A, ipaddress.IPv4Address(each).packed) for each in found]
    return records, _NO_ERROR


def _record(name: str, kind: int, data: bytes) -> bytes:
    return _written(name) + struct.pack("!HHIH", kind, _IN, _TTL_SECONDS, len(data)) + data


def _written(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split(".")) + b"\0"


def _read_name(message: bytes, at: int) -> tuple[str, int]:
    """The name at a place of the message, without compression, which no question has; and where it ends."""
    labels = []
    while length := message[at]:
        labels.append(message[at + 1 : at + 1 + length].decode(errors="replace"))
        at += 1 + length
    return ".".join(labels), at + 1
