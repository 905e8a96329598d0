"""The first full load, and what one file's edit does to what is in force."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from crds.meta import ObjectKey
from dragoman.sources import manifest
from dragoman.sources.change import Batch
from dragoman.sources.files import FileSource
from dragoman.sources.manifest import Content
from dragoman.sources.registry import Registry
from tests.sources.objects import codes, entry, invalid, join, key, summary


def test_the_tree_is_loaded_with_its_lists_and_links_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(join(entry("a"), "", "# nothing\n", entry("b", namespace="shop")))
    (tmp_path / "deep" / "er").mkdir(parents=True)
    listed = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [{"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "n"}}],
    }
    (tmp_path / "deep" / "er" / "c.json").write_text(json.dumps(listed))
    (tmp_path / "deep" / "d.yml").write_text(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRuleList\n"
        "items:\n- {metadata: {name: d}, spec: {host: x.y}}\n"
    )
    for passed_over in ("README.md", ".hidden.yaml", "x.yaml~"):
        (tmp_path / passed_over).write_text(entry("not-me"))
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.yaml").write_text(entry("not-me"))
    (tmp_path / "deep" / "again").symlink_to(tmp_path)  # a cycle
    (tmp_path / "nowhere.yaml").symlink_to(tmp_path / "missing.yaml")

    source = FileSource(tmp_path)
    batch = source.load()

    expected = {key("a"), key("b", "shop"), key("d"), ObjectKey("Namespace", "", "n")}
    assert [change.key for change in batch.changes] == sorted(expected)
    assert set(source.objects) == expected
    assert batch.reports == ()


def test_a_missing_root_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileSource(tmp_path / "missing").load()


def test_what_is_wrong_from_the_start_is_left_out_and_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(join(entry("a"), invalid("b"), "kind: [\n", entry("c")))
    batch = FileSource(tmp_path).load()
    assert summary(batch) == {"a": "plain.example", "c": "plain.example"}
    assert [(report.line, report.key, report.problem.path, report.kept_last_good) for report in batch.reports] == [
        (12, key("b"), "spec.hots", False),
        (14, None, "", False),
    ]
    line = str(batch.reports[0])
    assert line.startswith(f"{path}:12: DRG0101 DestinationRule default/b: spec.hots: ")
    assert "\n" not in line


def test_a_problem_of_a_list_item_leads_to_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "kind: List\napiVersion: v1\nitems:\n- apiVersion: networking.istio.io/v1\n  kind: DestinationRule\n"
        "  metadata: {name: a}\n  spec:\n    host: x\n    hots: x\n- 7\n"
    )
    batch = FileSource(tmp_path).load()
    assert [(report.line, report.problem.path) for report in batch.reports][:2] == [
        (9, "items[0].spec.hots"),
        (10, "items[1]"),
    ]


def update(registry: Registry, contents: dict[str, Content]) -> Batch:
    return registry.update(registry.read(contents))


class File:
    """One file whose edits go to a registry."""

    def __init__(self, registry: Registry, name: str) -> None:
        self.registry, self.name = registry, name

    def write(self, *documents: str) -> tuple[dict[str, str], list[str]]:
        batch = update(self.registry, {self.name: join(*documents).encode()})
        return summary(batch), codes(batch)

    def delete(self) -> tuple[dict[str, str], list[str]]:
        batch = update(self.registry, {self.name: None})
        return summary(batch), codes(batch)


def test_the_last_good_version_of_an_invalid_object_stays_in_force() -> None:
    file = File(Registry(), "a")
    file.write(entry("x", "one.example"), entry("y"))
    assert file.write(invalid("x"), entry("y", "two.example")) == ({"y": "two.example"}, ["DRG0101"])
    assert file.registry.reports()[0].kept_last_good
    # Moving the broken document and editing another says nothing new.
    assert file.write(entry("y", "three.example"), invalid("x")) == ({"y": "three.example"}, [])
    assert file.write(entry("y", "three.example")) == ({"x": "-"}, [])


def test_a_document_that_can_be_read_goes_before_the_last_good_of_a_broken_one_above_it() -> None:
    file = File(Registry(), "a")
    file.write(invalid("x"), entry("x", "one.example"))
    assert file.write(invalid("x"), entry("x", "two.example")) == ({"x": "two.example"}, [])


def test_a_document_that_cannot_be_recognised_may_be_any_so_nothing_is_dropped() -> None:
    file = File(Registry(), "a")
    file.write(entry("x"), entry("y"), entry("z"))
    assert file.write(entry("x", "one.example"), "kind: [\n") == ({"x": "one.example"}, ["DRG0001"])
    assert file.registry.reports()[0].kept_last_good
    assert file.write(entry("x", "one.example"), "just text\n") == ({}, ["DRG0100"])
    assert file.write(entry("x", "one.example"), entry("y", "two.example")) == ({"y": "two.example", "z": "-"}, [])


def test_an_empty_file_deletes_what_it_held() -> None:
    file = File(Registry(), "a")
    file.write(entry("x"))
    assert file.write("") == ({"x": "-"}, [])


def test_what_changes_nothing_is_no_change() -> None:
    file = File(Registry(), "a")
    file.write(entry("x"))
    assert file.write("# a comment\n" + entry("x")) == ({}, [])


def test_the_same_object_twice_the_first_path_wins_in_whatever_order_they_come() -> None:
    registry = Registry()
    a, b = File(registry, "a"), File(registry, "b")
    assert b.write(entry("x", "two.example")) == ({"x": "two.example"}, [])
    assert a.write(entry("x", "one.example")) == ({"x": "one.example"}, ["DRG0005"])
    assert [(report.file, report.line) for report in registry.reports()] == [("b", 1)]
    assert b.write(entry("x", "three.example")) == ({}, [])
    # A typo in the winner does not hand the object over, nor does it lose it.
    assert a.write(invalid("x")) == ({}, ["DRG0101"])
    assert a.write(entry("x", "one.example")) == ({}, [])
    assert a.delete() == ({"x": "three.example"}, [])
    assert registry.reports() == ()


def test_the_same_object_twice_in_one_file() -> None:
    file = File(Registry(), "a")
    assert file.write(entry("x", "one.example"), entry("x", "two.example")) == ({"x": "one.example"}, ["DRG0005"])
    assert file.registry.reports()[0].line == 7
    assert file.write(entry("x", "two.example")) == ({"x": "two.example"}, [])


def test_a_file_that_can_be_read_goes_before_one_that_only_had_the_object() -> None:
    registry = Registry()
    a, b = File(registry, "a"), File(registry, "b")
    a.write(entry("x", "one.example"))
    a.write("kind: [\n")
    assert b.write(entry("x", "two.example")) == ({"x": "two.example"}, [])
    assert a.write("") == ({}, [])


def test_an_object_that_moves_to_another_file_is_not_dropped() -> None:
    registry = Registry()
    a, b = File(registry, "a"), File(registry, "b")
    a.write(entry("x"))
    assert b.write(entry("x")) == ({}, ["DRG0005"])
    assert a.write("# moved\n") == ({}, [])
    assert not update(registry, {"b": b"", "c": entry("x").encode()})


def test_a_file_that_becomes_unreadable_keeps_its_objects() -> None:
    registry = Registry()
    a = File(registry, "a")
    a.write(entry("x"))
    refused = PermissionError(13, "Permission denied")
    assert codes(update(registry, {"a": refused})) == ["DRG0006"]
    assert set(registry.objects) == {key("x")}
    assert codes(update(registry, {"a": refused})) == []
    assert a.write(entry("x")) == ({}, [])


def test_other_kinds_and_what_the_cluster_writes_give_one_line_each_once() -> None:
    file = File(Registry(), "a")
    deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {}\n"
    dumped = entry("x") + "status: {conditions: []}\n"
    assert file.write(deployment, dumped) == ({"x": "plain.example"}, ["DRG0003", "DRG0004"])
    edited = deployment.replace("{}", "{replicas: 2}"), dumped.replace("plain.example", "two.example")
    assert file.write(*edited) == ({"x": "two.example"}, [])


def test_a_kind_or_version_that_nobody_serves_keeps_the_last_good_version() -> None:
    file = File(Registry(), "a")
    file.write(entry("x"))
    assert file.write(entry("x").replace("/v1", "/v9")) == ({}, ["DRG0105"])
    assert file.registry.reports()[0].kept_last_good


def test_one_edit_in_a_thousand_documents_decodes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    decode = manifest.decode
    monkeypatch.setattr(
        manifest, "decode", lambda document: decoded.append(document["metadata"]["name"]) or decode(document)
    )
    documents = [entry(f"e{index}") for index in range(1000)]
    file = File(Registry(), "a")
    file.write(*documents)
    assert len(decoded) == 1000
    decoded.clear()
    documents[500] = entry("e500", "nine.example")
    started = time.perf_counter()
    assert file.write(*documents) == ({"e500": "nine.example"}, [])
    took = time.perf_counter() - started
    assert decoded == ["e500"]
    # Parsing all of them takes about a second; finding the one that changed must not.
    assert took < 0.2, f"{took * 1000:.1f} ms"


def test_a_subfolder_that_cannot_be_listed_is_no_deletion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yaml").write_text(entry("x"))
    (tmp_path / "b.yaml").write_text(entry("y"))
    source = FileSource(tmp_path)
    source.load()

    scandir = os.scandir

    def refuse(path: Path) -> Iterator[os.DirEntry[str]]:  # root, who runs tests, is refused nothing
        if path == tmp_path / "sub":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    (tmp_path / "b.yaml").unlink()
    batch = source.load()
    assert summary(batch) == {"y": "-"}
    assert [(Path(report.file).name, report.problem.code, report.kept_last_good) for report in batch.reports] == [
        ("sub", "DRG0006", False),
        ("a.yaml", "DRG0006", True),
    ]
    assert set(source.objects) == {key("x")}
    monkeypatch.undo()
    assert not source.load()
    assert source.reports() == ()
