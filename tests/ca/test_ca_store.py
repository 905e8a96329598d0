"""The shared state: replicas that write at the same time, and what others may not read."""

import asyncio
import multiprocessing
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ca.authority import Authority, new_root
from ca.keeper import Keeper
from ca.rotation import Phase, Report, Rotation
from ca.store import ConflictError, FileStore, StoreError, update

TIMES = 12


def trusts_nobody(bundle: str, now: datetime) -> tuple[str, ...]:
    return ()


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "state" / "authority.json")


def report_often(path: Path, name: str, root: bytes) -> None:
    async def report() -> None:
        for number in range(TIMES):
            said = Report(datetime.now(UTC), name)
            await update(FileStore(path), lambda state: state.heard(f"{name}-{number}", said))  # noqa: B023

    asyncio.run(report())


async def test_only_the_first_of_two_writers_wins(store):
    _, version = await store.read()
    await store.replace(b"one", version)
    with pytest.raises(ConflictError):
        await store.replace(b"two", version)
    assert (await store.read())[0] == b"one"


async def test_nobody_else_may_read_it(store):
    await store.replace(b"one", (await store.read())[1])
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700
    store.path.chmod(0o644)
    with pytest.raises(StoreError, match="chmod 600"):
        await store.read()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_what_root_writes_stays_its_owners(store):
    version = await store.replace(b"one", (await store.read())[1])
    os.chown(store.path, 65534, 65534)
    await store.replace(b"two", version)
    assert (store.path.stat().st_uid, store.path.stat().st_gid) == (65534, 65534)


async def test_processes_that_write_at_once_lose_nothing(store, root):
    await update(store, lambda state: Rotation(root))
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=report_often, args=(store.path, name, b"")) for name in ("a", "b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        await asyncio.to_thread(writer.join)
        assert writer.exitcode == 0
    state, _ = await update(store, lambda state: state)
    assert len(state.reports) == 2 * TIMES


async def test_replicas_that_start_at_once_have_one_root(store, now):
    keepers = [Keeper(store, f"replica-{number}") for number in range(5)]
    authorities = await asyncio.gather(
        *(keeper.open(lambda: new_root("cluster.local", now=now), now) for keeper in keepers)
    )
    assert len({authority.certificate for authority in authorities}) == 1


async def test_two_replicas_rotate_together(store, root, now):
    other = new_root("cluster.local", now=now)
    used: dict[str, Authority] = {}
    waiting: dict[str, tuple[str, ...]] = {"a": (), "b": ("web-1.shop",)}
    keepers = {name: Keeper(store, name, lifetime=timedelta(hours=1), renew=lambda now: other) for name in ("a", "b")}

    async def turns(at: datetime) -> None:
        for name, keeper in keepers.items():
            await keeper.turn(
                lambda authority, name=name: used.__setitem__(name, authority),
                lambda bundle, now, name=name: waiting[name],
                at,
            )

    for keeper in keepers.values():
        await keeper.open(lambda: root, now)
    await turns(now)
    await keepers["a"].offer(other, now)
    later = now + timedelta(minutes=2)
    for at in (now, later, later):
        await turns(at)
    assert {authority.certificate for authority in used.values()} == {root.certificate}
    assert all(set(authority.roots) == {root.certificate, other.certificate} for authority in used.values())
    waiting["b"] = ()
    for _ in range(3):
        await turns(later)
    assert {authority.certificate for authority in used.values()} == {other.certificate}
    assert keepers["a"].state.phase is Phase.retiring
    await turns(later + timedelta(minutes=65))
    assert all(authority.roots == (other.certificate,) for authority in used.values())


async def test_a_self_signed_root_near_its_end_is_rotated_and_a_plugged_in_one_is_not(store, tmp_path, root, now):
    other = new_root("cluster.local", now=now)
    end = root.not_after - timedelta(days=100)
    own = Keeper(store, "own", renew=lambda now: other)
    await own.open(lambda: root, now)
    assert (await own.turn(lambda authority: None, trusts_nobody, end)).phase is Phase.distributing
    given = Keeper(FileStore(tmp_path / "given.json"), "given")
    await given.open(lambda: root, now)
    assert (await given.turn(lambda authority: None, trusts_nobody, end)).phase is Phase.steady


async def test_what_is_given_away_is_noted_before(store, root, now):
    keeper = Keeper(store, "one", lifetime=timedelta(hours=1))
    await keeper.open(lambda: root, now)
    until = now + timedelta(days=30)
    await keeper.promise(until)
    state, _ = await update(store, lambda state: state)
    assert min(state.bound, state.requested_bound) >= until


async def test_nothing_is_written_while_nothing_happens(store, root, now):
    keeper = Keeper(store, "one", lifetime=timedelta(hours=24))
    await keeper.open(lambda: root, now)
    await keeper.turn(lambda authority: None, trusts_nobody, now)
    _, version = await store.read()
    for seconds in range(30):
        await keeper.turn(lambda authority: None, trusts_nobody, now + timedelta(seconds=seconds))
    assert (await store.read())[1] == version
