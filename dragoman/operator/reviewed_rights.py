"""The rights of accounts to Secrets, as the API server knows them (Kubernetes API: SubjectAccessReview)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

import msgspec
import structlog

from dragoman.kube import ApiError, Cluster
from dragoman.kube.resources import SUBJECT_ACCESS_REVIEWS
from dragoman.runtime.secret_rights import Account

log = structlog.get_logger(__name__)


_WITHIN: Final = 5.0
"""Seconds: a proxy waits."""

_AT_ONCE: Final = 16
"""Reviews that are asked for at the same time."""


class _Status(msgspec.Struct):
    allowed: bool


class _Answer(msgspec.Struct):
    status: _Status


class ReviewedRights:
    """Asks whether an account may list the Secrets of its namespace, as Istio does (`SecretRights`).

    While the API server cannot be asked, what it said last holds.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._known: dict[Account, bool] = {}
        self._asked: set[Account] = set()
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def asked(self, account: Account) -> bool:
        return account in self._asked

    async def ask(self, account: Account) -> None:
        if account not in self._known:
            await self.renew((account,))
        self._asked.add(account)

    def may_read(self, account: Account) -> bool:
        return self._known.get(account, False)

    async def renew(self, accounts: Iterable[Account]) -> frozenset[Account]:
        asked = tuple(accounts)
        answers = await asyncio.gather(*map(self._review, asked))
        found = {account: allowed for account, allowed in zip(asked, answers, strict=True) if allowed is not None}
        changed = frozenset(account for account, allowed in found.items() if allowed != self._known.get(account))
        self._known |= found
        return changed

    async def _review(self, account: Account) -> bool | None:
        """None if nobody could say."""
        namespace, name = account
        attributes = {"namespace": namespace, "verb": "list", "resource": "secrets"}
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
        review = {
            "apiVersion": SUBJECT_ACCESS_REVIEWS.api_version,
            "kind": SUBJECT_ACCESS_REVIEWS.kind,
            "spec": {
                "user": f"system:serviceaccount:{namespace}:{name}",
                "groups": groups,
                "resourceAttributes": attributes,
            },
        }
        try:
            path = SUBJECT_ACCESS_REVIEWS.path()
            async with self._slots:
                answer = await self._cluster.request("POST", path, body=review, within=_WITHIN)
            return msgspec.json.decode(answer, type=_Answer).status.allowed
        except (ApiError, msgspec.MsgspecError) as error:
            log.warning("rights of an account not known", namespace=namespace, account=name, error=str(error))
            return None
