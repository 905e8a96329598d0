"""A proxy's rights are known before it is told of its credentials."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest

from ca.authority import new_root
from dragoman.codec import SECRET
from dragoman.runtime import ControlPlane, control_plane
from dragoman.runtime.secret_rights import Account
from tests.runtime.test_runtime_control_plane import Documents
from tests.runtime.test_runtime_credentials import CA, NAME, A, gateway, rule, secret, tls
from tests.support.mesh_of_yaml import pod
from xds import Node, Peer

GATEWAY_POD = pod("gw-1", "10.1.0.9", "edge", "istio: gw")
NODE = Node("router~10.1.0.9~gw-1.edge~edge.svc.cluster.local")
LOCAL = Peer("unix:", True, {})


class Rights:
    """What is asked, and what is answered when the test says so."""

    def __init__(self) -> None:
        self.asked_about: list[Account] = []
        self.question = asyncio.Event()
        self.answered = asyncio.Event()
        self.allowed = True
        self.renewed = asyncio.Event()

    def asked(self, account: Account) -> bool:
        return account in self.asked_about and self.answered.is_set()

    async def ask(self, account: Account) -> None:
        self.asked_about.append(account)
        self.question.set()
        await self.answered.wait()

    def may_read(self, account: Account) -> bool:
        return self.allowed and self.answered.is_set()

    async def renew(self, accounts: Iterable[Account]) -> frozenset[Account]:
        self.renewed.set()
        return frozenset(accounts)


async def test_it_is_not_told_that_nothing_is_there_while_its_rights_are_asked_for() -> None:
    rights = Rights()
    authority = new_root("cluster.local", now=datetime.now(UTC))
    plane = ControlPlane(Documents(GATEWAY_POD + gateway() + secret(tls(A))), authority, rights=rights)
    await plane.load()
    connecting = asyncio.create_task(plane.connect(NODE, LOCAL))
    await rights.question.wait()
    assert not connecting.done()
    rights.answered.set()
    session = await connecting
    assert any(view.get((SECRET, NAME)) is not None for view in session.views)
    assert rights.asked_about == [("edge", "default")]


async def test_a_sidecar_is_asked_about_when_a_rule_first_names_a_secret_for_it() -> None:
    """Not before: of all the accounts of a mesh few need a Secret."""
    rights = Rights()
    authority = new_root("cluster.local", now=datetime.now(UTC))
    alone = pod("pay-1", "10.1.0.1", "edge", account="pay") + secret(tls(A, **{"ca.crt": CA.pem}))
    source = Documents(alone)
    plane = ControlPlane(source, authority, rights=rights)
    await plane.load()
    session = await plane.connect(Node("sidecar~10.1.0.1~pay-1.edge~edge.svc.cluster.local"), LOCAL)
    assert rights.asked_about == []
    running = asyncio.create_task(plane.run())
    told = asyncio.Event()
    session.on_views_changed = told.set
    try:
        async with asyncio.timeout(60):
            source.apply(rule())
            await rights.question.wait()
            assert rights.asked_about == [("edge", "pay")]
            assert not told.is_set()
            rights.answered.set()
            await told.wait()
        assert any(view.get((SECRET, NAME)) is not None for view in session.views)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_rights_that_are_taken_take_the_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_plane, "_RIGHTS_EVERY", 0.01)
    rights = Rights()
    rights.answered.set()
    authority = new_root("cluster.local", now=datetime.now(UTC))
    plane = ControlPlane(Documents(GATEWAY_POD + gateway() + secret(tls(A))), authority, rights=rights)
    await plane.load()
    session = await plane.connect(NODE, LOCAL)
    running = asyncio.create_task(plane.run())
    try:
        rights.allowed = False
        async with asyncio.timeout(60):
            while any(view.get((SECRET, NAME)) is not None for view in session.views):
                rights.renewed.clear()
                await rights.renewed.wait()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
