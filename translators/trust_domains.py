"""Trust domains in the principals of policies.

A mesh that changed its trust domain keeps the old one as an alias: policies that name either hold for both.
`cluster.local` always stands for the mesh's own (Istio: pilot/pkg/security/trustdomain/bundle.go).
"""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT = "cluster.local"


@dataclass(frozen=True, slots=True)
class TrustDomains:
    own: str
    aliases: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.own, *self.aliases)))

    def spellings(self, principal: str) -> tuple[str, ...]:
        """A principal `trust-domain/ns/…/sa/…` with every trust domain that it stands for."""
        domain, slash, rest = principal.partition("/")
        if not slash or domain not in (*self.all, DEFAULT):
            return (principal,)
        return tuple(f"{known}/{rest}" for known in self.all)
