"""Capture in the network namespace that this process is in."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

from dragoman.capture import iptables, nftables, transparent
from dragoman.capture.rules import INBOUND_SOURCES, MANGLE, NAT, Family, Rule, rules
from dragoman.capture.settings import Capture, CaptureError

Backend = Literal["auto", "iptables", "nftables"]

_PROGRAMS: Final = {Family.V4: "iptables", Family.V6: "ip6tables"}
_ADDRESSES: Final = Path("/proc/thread-self/net/if_inet6")  # of the namespace that this thread is in
_LINK_LOCAL: Final = "20"
_LOOPBACK: Final = "lo"
_SECONDS: Final = 30.0


def families() -> tuple[Family, ...]:
    """IPv4, and IPv6 where this namespace has an address of it that others could reach (proc(5): if_inet6)."""
    try:
        lines = [line.split() for line in _ADDRESSES.read_text().splitlines()]
    except OSError:
        lines = []
    reachable = any(scope != _LINK_LOCAL and name != _LOOPBACK for _, _, _, scope, _, name in lines)
    return (Family.V4, Family.V6) if reachable else (Family.V4,)


def choose(backend: Backend) -> Literal["iptables", "nftables"]:
    """The backend itself, or the one of the two that this system has: nftables if both. Raises CaptureError."""
    if backend != "auto":
        return backend
    for name, command in (("nftables", ("nft", "list", "tables")), ("iptables", ("iptables-save", "-t", "nat"))):
        try:
            _run(command)
        except CaptureError:
            continue
        return "nftables" if name == "nftables" else "iptables"
    raise CaptureError("neither nft nor iptables works here: capture needs one of them, root and NET_ADMIN")


def scripts(capture: Capture | None, backend: Literal["iptables", "nftables"]) -> Iterator[tuple[Sequence[str], str]]:
    """The commands that put the capture in force, None removing it, each with its input. Reads what is in force."""
    within = families()
    wanted: Mapping[Family, list[Rule]] = {}
    mangle: Mapping[Family, list[Rule]] = {}
    if capture is not None:
        wanted = {family: rules(capture, family) for family in within}
        mangle = {family: transparent.rules(capture, family) for family in within}
    for family in within:
        needed = bool(mangle.get(family))
        for command in transparent.routing(family, _routing_rules(family, needed=needed), wanted=needed):
            yield command, ""
    if backend == "nftables":
        yield ("nft", "-f", "-"), nftables.replacement(wanted, mangle)
        return
    for family in within:
        program = _PROGRAMS[family]
        # Of no table by name: one that nobody has used need not be within the kernel's reach.
        saved = _run((f"{program}-save",))
        text = iptables.replacement(saved, wanted.get(family, ()), NAT)
        text += iptables.replacement(saved, mangle.get(family, ()), MANGLE)
        if text:
            yield (f"{program}-restore", "--noflush", "-w", "5"), text


def apply(capture: Capture, backend: Backend) -> None:
    """Put the capture in force, whatever was before. Raises CaptureError."""
    if Family.V6 in families():
        # What the proxy binds to be told from others (rules.INBOUND_SOURCES) is ours at once only in IPv4.
        _run(("ip", "-6", "address", "replace", INBOUND_SOURCES[Family.V6], "dev", _LOOPBACK))
    for command, text in scripts(capture, choose(backend)):
        _run(command, text)


def remove(backend: Backend) -> None:
    """Remove the capture; there need not be any. Raises CaptureError."""
    for command, text in scripts(None, choose(backend)):
        _run(command, text)


def _routing_rules(family: Family, *, needed: bool) -> str:
    try:
        return _run(("ip", f"-{family.value}", "rule", "list"))
    except CaptureError:
        if needed:
            raise
        return ""  # where they cannot be read none of ours was made


def _run(command: Sequence[str], text: str = "") -> str:
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CaptureError(f"{command[0]}: {error}") from None
    if done.returncode:
        raise CaptureError(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout
