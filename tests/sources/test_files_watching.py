"""Following a folder with real files and real inotify."""

import asyncio
import gc
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from crds.meta import ObjectKey
from dragoman.sources import inotify
from dragoman.sources.change import Batch
from dragoman.sources.files import FileSource
from tests.sources.objects import codes, entry, invalid, join, key, replace, summary

pytestmark = pytest.mark.skipif(not inotify.AVAILABLE, reason="inotify is Linux's")


class Follower:
    """A source that is being watched, and what its batches add up to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.source = FileSource(root)
        self.objects: dict[ObjectKey, object] = {}
        self.batches: list[Batch] = []
        self._beacon = 0
        self._add(self.source.load())
        self._watch = self.source.watch()

    def _add(self, batch: Batch) -> None:
        self.batches.append(batch)
        for change in batch.changes:
            assert self.objects.get(change.key) == change.old
            assert change.old != change.new
            if change.new is None:
                del self.objects[change.key]
            else:
                self.objects[change.key] = change.new
        assert self.objects == dict(self.source.objects)

    async def next(self) -> Batch:
        async with asyncio.timeout(60):
            batch = await anext(self._watch)
        self._add(batch)
        return batch

    async def settle(self) -> list[Batch]:
        """Everything that happened until now, seen to be over by a file of its own."""
        self._beacon += 1
        seen = len(self.batches)
        host = f"beacon{self._beacon}.example"
        replace(self.root / "~beacon.yaml", entry("beacon", host))
        while getattr(getattr(self.objects.get(key("beacon")), "spec", None), "host", "") != host:
            await self.next()
        return self.batches[seen:]

    async def after(self, edit: Callable[[], object]) -> dict[str, str]:
        """All that follows from an edit, as one summary; the beacon left out."""
        edit()
        changes: dict[str, str] = {}
        for batch in await self.settle():
            changes |= summary(batch)
        changes.pop("beacon", None)
        return changes

    @property
    def hosts(self) -> dict[str, str]:
        return {k.name: o.spec.host for k, o in self.objects.items() if k.name != "beacon"}  # type: ignore[attr-defined]

    async def close(self) -> None:
        await self._watch.aclose()  # type: ignore[attr-defined]


@asynccontextmanager
async def following(root: Path) -> AsyncIterator[Follower]:
    follower = Follower(root)
    try:
        await follower.settle()
        yield follower
    finally:
        await follower.close()


async def test_what_happened_between_load_and_watch_is_the_first_batch(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(entry("a"))
    (tmp_path / "b.yaml").write_text(entry("b"))
    follower = Follower(tmp_path)
    (tmp_path / "a.yaml").unlink()
    (tmp_path / "b.yaml").write_text(entry("b", "one.example"))
    assert summary(await follower.next()) == {"a": "-", "b": "one.example"}
    await follower.close()


async def test_edits_and_the_batches_they_make(tmp_path: Path) -> None:
    root = tmp_path / "config"
    (root / "sub").mkdir(parents=True)
    (root / "a.yaml").write_text(join(entry("a"), entry("b")))
    async with following(root) as mesh:
        a, c = root / "a.yaml", root / "sub" / "c.yaml"
        for edit, changes in [
            (lambda: a.write_text(join(entry("a", "one.example"), entry("b"))), {"a": "one.example"}),
            (lambda: replace(a, join(entry("a", "one.example"), entry("b", "two.example"))), {"b": "two.example"}),
            (lambda: a.write_text(join(invalid("a"), entry("b", "three.example"))), {"b": "three.example"}),
            (lambda: a.write_text("{"), {}),
            (lambda: a.write_text(entry("a", "one.example")), {"b": "-"}),
            (lambda: c.write_text(entry("c")), {"c": "plain.example"}),
            (lambda: os.rename(a, root / "sub" / "moved.yaml"), {}),
            (lambda: os.rename(root / "sub", root / "other"), {}),
            (lambda: (root / "other" / "c.yaml").write_text(entry("c", "four.example")), {"c": "four.example"}),
            (lambda: os.link(root / "other" / "c.yaml", root / "again.yaml"), {}),
            (lambda: (root / "other" / "c.yaml").unlink(), {}),
            (lambda: os.rename(root / "other", tmp_path / "outside"), {"a": "-"}),
            (lambda: (tmp_path / "outside" / "moved.yaml").write_text(entry("a", "five.example")), {}),
            (lambda: os.rename(tmp_path / "outside", root / "back"), {"a": "five.example"}),
            (lambda: shutil.rmtree(root / "back"), {"a": "-"}),
            (lambda: (root / "again.yaml").write_text(""), {"c": "-"}),
        ]:
            assert await mesh.after(edit) == changes
    assert not mesh.hosts


async def test_a_new_folder_with_files_in_it(tmp_path: Path) -> None:
    async with following(tmp_path) as mesh:

        def build() -> None:
            for number in range(20):
                folder = tmp_path / f"d{number}" / "deeper"
                folder.mkdir(parents=True)
                (folder / "x.yaml").write_text(entry(f"x{number}"))

        assert len(await mesh.after(build)) == 20


async def test_events_that_come_together_are_one_batch(tmp_path: Path) -> None:
    async with following(tmp_path) as mesh:
        for name in "abc":
            (tmp_path / f"{name}.yaml").write_text(entry(name))
        assert summary(await mesh.next()) == dict.fromkeys("abc", "plain.example")


async def test_an_object_that_moves_between_files_within_a_batch_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(join(entry("x"), entry("y")))
    async with following(tmp_path) as mesh:
        (tmp_path / "a.yaml").write_text(entry("x"))
        (tmp_path / "b.yaml").write_text(entry("y"))
        assert [summary(batch) for batch in await mesh.settle()] == [{"beacon": "beacon2.example"}]


async def test_a_half_written_file_is_not_an_empty_mesh(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(join(entry("x"), entry("y")))
    async with following(tmp_path) as mesh:
        with path.open("w") as file:
            assert await mesh.after(lambda: None) == {}
            file.write(entry("x", "one.example"))
            file.flush()
            assert await mesh.after(lambda: None) == {}
            # Not even a look at the whole tree reads it.
            assert await mesh.after(lambda: (tmp_path / "new").mkdir()) == {}
            file.write("---\n" + entry("y"))
        assert summary(await mesh.next()) == {"x": "one.example"}


async def test_truncating_writers_in_a_hurry_never_empty_the_mesh(tmp_path: Path) -> None:
    """Between two rewrites the reader may find the file truncated once more: what it sees then must not count."""
    path = tmp_path / "a.yaml"
    path.write_text(join(entry("x"), entry("y")))
    async with following(tmp_path) as mesh:

        def hurry() -> None:
            for number in range(2000):
                path.write_text(join(entry("x", f"{number}.example"), entry("y")))

        writer = threading.Thread(target=hurry)
        writer.start()
        while mesh.hosts["x"] != "1999.example":
            assert set(summary(await mesh.next())) == {"x"}
            assert set(mesh.hosts) == {"x", "y"}
        writer.join()


async def test_a_mounted_config_map_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """As the kubelet's atomic writer does it: a new folder, and the symlink `..data` renamed over."""
    mount = tmp_path / "mount"
    mount.mkdir()

    def publish(version: str, *names: str) -> None:
        (mount / f"..{version}").mkdir()
        for name in names:
            (mount / f"..{version}" / f"{name}.yaml").write_text(entry(name, f"{version}.example"))
        (mount / "..data_tmp").symlink_to(f"..{version}")
        old = (mount / "..data").resolve()
        os.rename(mount / "..data_tmp", mount / "..data")
        for name in names:
            if not (mount / f"{name}.yaml").is_symlink():
                (mount / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")
        if old.name != "..data":
            shutil.rmtree(old)

    publish("v1", "a", "b")
    async with following(tmp_path) as mesh:
        assert mesh.hosts == {"a": "v1.example", "b": "v1.example"}
        assert await mesh.after(lambda: publish("v2", "a", "b")) == {"a": "v2.example", "b": "v2.example"}
        assert await mesh.after(lambda: publish("v3", "a", "b", "c")) == dict.fromkeys("abc", "v3.example")


async def test_symlinks_are_followed_to_files_and_folders_elsewhere(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    root.mkdir()
    (elsewhere / "folder").mkdir(parents=True)
    (elsewhere / "a.yaml").write_text(entry("a"))
    (elsewhere / "folder" / "b.yaml").write_text(entry("b"))
    (root / "a.yaml").symlink_to(elsewhere / "a.yaml")
    async with following(root) as mesh:
        assert await mesh.after(lambda: (elsewhere / "a.yaml").write_text(entry("a", "one.example"))) == {
            "a": "one.example"
        }
        assert await mesh.after(lambda: (root / "b").symlink_to(elsewhere / "folder")) == {"b": "plain.example"}
        edit = elsewhere / "folder" / "b.yaml"
        assert await mesh.after(lambda: edit.write_text(entry("b", "two.example"))) == {"b": "two.example"}
        assert await mesh.after(lambda: (root / "b").unlink()) == {"b": "-"}
        assert await mesh.after(lambda: (elsewhere / "a.yaml").unlink()) == {"a": "-"}
        assert await mesh.after(lambda: replace(elsewhere / "a.yaml", entry("a", "three.example"))) == {
            "a": "three.example"
        }


async def test_the_root_itself_may_be_replaced(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (tmp_path / "next").mkdir()
    (tmp_path / "next" / "a.yaml").write_text(entry("a", "two.example"))
    root.mkdir()
    (root / "a.yaml").write_text(entry("a"))
    (root / "b.yaml").write_text(entry("b"))
    async with following(root) as mesh:
        os.rename(root, tmp_path / "previous")
        gone = await mesh.next()
        assert (summary(gone), codes(gone), gone.reports[0].kept_last_good) == ({}, ["DRG0006"], True)
        os.rename(tmp_path / "next", root)
        assert summary(await mesh.next()) == {"a": "two.example", "b": "-", "beacon": "-"}
        assert await mesh.after(lambda: (root / "a.yaml").write_text(entry("a", "three.example"))) == {
            "a": "three.example"
        }


def _queue_length() -> int:
    return int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


async def test_lost_events_are_made_up_for(tmp_path: Path) -> None:
    (tmp_path / "gone.yaml").write_text(entry("gone"))
    room = _queue_length()
    async with following(tmp_path) as mesh:
        noise = tmp_path / "noise"
        for _ in range(room // 2):  # created, closed, deleted: more events than fit
            noise.touch()
            noise.unlink()
        (tmp_path / "gone.yaml").unlink()
        (tmp_path / "new.yaml").write_text(entry("new"))
        assert summary(await mesh.next()) == {"gone": "-", "new": "plain.example"}


async def test_a_watch_leaves_no_descriptor_behind(tmp_path: Path) -> None:
    gc.collect()  # what earlier tests have left to it
    before = len(os.listdir("/proc/self/fd"))
    async with following(tmp_path):
        assert len(os.listdir("/proc/self/fd")) > before
    assert len(os.listdir("/proc/self/fd")) == before


async def test_without_inotify_a_report_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inotify, "AVAILABLE", False)
    source = FileSource(tmp_path)
    source.load()
    assert [codes(batch) async for batch in source.watch()] == [["DRG0007"]]
