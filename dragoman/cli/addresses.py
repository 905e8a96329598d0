"""Addresses on the command line."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import NamedTuple

import typer


class HostPort(NamedTuple):
    """`HOST:PORT`; IPv6 hosts stand in brackets. Where something listens, port 0 takes a free one."""

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
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise typer.BadParameter(f"{text!r} is not HOST:PORT")
    if ":" in host and not bracketed:
        raise typer.BadParameter(f"{text!r}: write an IPv6 address in brackets, [{host}]:{port}")
    return HostPort(host.strip("[]"), int(port))


def host_port_or_socket(text: str) -> HostPort | Path:
    """Parse `HOST:PORT` or `unix:///PATH`."""
    if not text.startswith("unix:"):
        return host_port(text)
    path = Path(text.removeprefix("unix:").removeprefix("//"))
    if not path.is_absolute():
        raise typer.BadParameter(f"{text!r}: the path of a UNIX socket must be absolute")
    return path
