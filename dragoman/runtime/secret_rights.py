"""Whether a proxy's service account may read the Secrets that the proxy is to get, be it a gateway or a sidecar.

The control plane reads Secrets for proxies, so it must not read for them what they could not read themselves (Istio:
pilot/pkg/xds/sds.go, filterAuthorizedResources; pilot/pkg/credentials/kube, Authorize).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

Account = tuple[str, str]
"""Namespace and name of a service account. Its Secrets are those of its namespace."""


class SecretRights(Protocol):
    """What accounts may read. An account that was never asked about may read nothing."""

    def asked(self, account: Account) -> bool:
        """Whether it was asked about, with or without an answer."""

    async def ask(self, account: Account) -> None:
        """Find out, unless it is known."""

    def may_read(self, account: Account) -> bool:
        """What is known."""

    async def renew(self, accounts: Iterable[Account]) -> frozenset[Account]:
        """Ask again; the accounts whose answer is another one now."""


class EverySecret:
    """Outside of a cluster nobody has accounts' rights: the folder that Secrets stand in is for its proxies."""

    def asked(self, account: Account) -> bool:
        return True

    async def ask(self, account: Account) -> None:
        pass

    def may_read(self, account: Account) -> bool:
        return True

    async def renew(self, accounts: Iterable[Account]) -> frozenset[Account]:
        return frozenset()
