"""Addresses on the command line."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

import typer


class HostPort(NamedTuple):
    """`HOST:PORT`; IPv6 hosts stand in brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def local(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def host_port(text: str) -> HostPort:
    """Parse `HOST:PORT`; a wrong one is a usage error (exit code 2)."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise typer.BadParameter(f"{text!r} is not HOST:PORT")
    return HostPort(host.strip("[]"), int(port))
