"""How far an object has come to the proxies that use it, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NAMED: Final = 3
"""Proxies that are named where something is said of many."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A resource made from an object that proxies do without because an Envoy rejected it."""

    type: str
    """`cds` and the like."""
    name: str
    message: str
    """Envoy's words, or what the resource waits for."""
    proxies: tuple[str, ...]
    """Those that do without it, where others have it; empty where nobody gets it."""
    at_fault: bool
    """Whether it is this object's doing; if not, another one in the same resource keeps it back."""


@dataclass(frozen=True, slots=True)
class Programmed:
    """How far an object has come. `waiting` are names of some proxies that have yet to accept it."""

    proxies: int = 0
    """Connected proxies that use it."""
    accepted: int = 0
    """Those that have ACKed everything made from it."""
    waiting: tuple[str, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    failures: tuple[str, ...] = ()
    """Why resources cannot be made at all: faults of the control plane's own."""
    translating: bool = False
    """It is known who uses it, and what for, only when the transaction that changes it has ended."""

    @property
    def complete(self) -> bool:
        """Whether all that use it have it."""
        done = self.accepted == self.proxies and not self.translating
        return done and not self.rejections and not self.failures
