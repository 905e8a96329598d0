"""What proxies rejected outlives the view, the proxy and the control plane."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from dragoman.codec import CLUSTER, SECRET, Encoded
from dragoman.mesh.proxies import OutboundView
from dragoman.mesh.proxy_id import ProxyType
from dragoman.mesh.workloads import Interception
from dragoman.runtime.mounted_views import lasting_name_of
from dragoman.runtime.quarantine_store import KEPT_SECONDS, MAX_BYTES, QuarantineStore
from xds import Memory, Rejection, Resource


def good(name: str = "c", content: bytes = b"good", kind: str = CLUSTER) -> Resource:
    return Resource.of(Encoded.of_payload(kind, name, content, refs=frozenset({(CLUSTER, "other")})))


def remembered(name: str = "c", *goods: Resource) -> Memory:
    return Memory((Rejection(CLUSTER, name, "bad", "it is bad", "envoy", 1.0),), goods)


def content(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


async def written(store: QuarantineStore, path: Path) -> dict[str, Any]:
    """Let the store write, as it does when the control plane stops."""
    task = asyncio.create_task(store.run())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return content(path)


async def test_another_process_remembers(tmp_path: Path) -> None:
    path = tmp_path / "state" / "quarantine.json"
    store = QuarantineStore(path)
    store.remember("view", remembered("c", good()))
    await written(store, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = QuarantineStore(path).recall("view")
    assert again == remembered("c", good())
    assert again.goods[0].refs == {(CLUSTER, "other")}
    assert QuarantineStore(path).recall("another") == Memory()


async def test_what_is_lifted_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "quarantine.json"
    store = QuarantineStore(path)
    store.remember("view", remembered("c", good()))
    store.remember("view", Memory())
    assert (await written(store, path))["views"] == []


async def test_private_keys_are_never_written(tmp_path: Path) -> None:
    path = tmp_path / "quarantine.json"
    store = QuarantineStore(path)
    store.remember("view", remembered("c", good("s", b"PRIVATE", SECRET), good()))
    views = (await written(store, path))["views"]
    assert [found["type_url"] for found in views[0]["goods"]] == [CLUSTER]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format":2,"views":[]}', '{"format":1,"views":[{"name":1}]}'])
async def test_a_file_that_makes_no_sense_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "quarantine.json"
    path.write_text(text)
    path.chmod(0o600)
    store = QuarantineStore(path)
    assert len(store) == 0
    store.remember("view", remembered())
    await written(store, path)
    assert QuarantineStore(path).recall("view")


async def test_a_file_that_others_may_write_is_not_believed(tmp_path: Path) -> None:
    """Its resources would go to proxies."""
    path = tmp_path / "quarantine.json"
    store = QuarantineStore(path)
    store.remember("view", remembered("c", good()))
    await written(store, path)
    path.chmod(0o660)
    assert len(QuarantineStore(path)) == 0


def test_views_that_nobody_asks_for_are_forgotten() -> None:
    now = 0.0
    store = QuarantineStore(clock=lambda: now)
    store.remember("asked for", remembered())
    store.remember("forgotten", remembered())
    now = KEPT_SECONDS - 1
    assert store.recall("asked for")
    now = KEPT_SECONDS + 1
    store.remember("new", remembered())
    assert [bool(store.recall(name)) for name in ("asked for", "forgotten", "new")] == [True, False, True]


def test_the_file_does_not_grow_without_end() -> None:
    now = 0.0
    store = QuarantineStore(clock=lambda: now)
    for number in range(4):
        now += 1
        store.remember(str(number), remembered("c", good(content=bytes([number]) * (MAX_BYTES // 3))))
    assert [bool(store.recall(str(number))) for number in range(4)] == [False, False, True, True]


async def test_a_folder_that_cannot_be_written_is_no_reason_to_stop(tmp_path: Path) -> None:
    path = tmp_path / "file" / "quarantine.json"
    (tmp_path / "file").write_text("")
    store = QuarantineStore(path)
    store.remember("view", remembered())
    task = asyncio.create_task(store.run())
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert store.recall("view")


def test_views_have_names_that_last() -> None:
    def key(**changes: Any) -> OutboundView:
        fields: dict[str, Any] = {"labels": frozenset({("a", "1"), ("b", "2")}), "egress": (("*", "*"),), **changes}
        return OutboundView(
            ProxyType.SIDECAR, "shop", fields["egress"], True, Interception.NONE, fields["labels"], None
        )

    assert lasting_name_of(key()) == lasting_name_of(key(labels=frozenset({("b", "2"), ("a", "1")})))
    assert lasting_name_of(key()) == "outbound shop [a=1,b=2] cd2278ce50b6d661"
    assert lasting_name_of(key()) != lasting_name_of(key(egress=(("shop", "*"),)))
