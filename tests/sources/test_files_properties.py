"""Whatever is done to a folder: what watching has made of it is what the files say."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dragoman.sources import inotify
from dragoman.sources.files import FileSource
from tests.sources.objects import entry, invalid, join, replace
from tests.sources.test_files_watching import Follower, following

pytestmark = pytest.mark.skipif(not inotify.AVAILABLE, reason="inotify is Linux's")

NAMES = "pqr"
FILES = ["a.yaml", "b.yaml", "dir/c.yaml", "dir/sub/d.yaml"]
BROKEN = "kind: [\n"


@dataclass(frozen=True)
class Good:
    name: str
    version: int

    @property
    def host(self) -> str:
        return f"v{self.version}.example"

    def __str__(self) -> str:
        return entry(self.name, self.host)


@dataclass(frozen=True)
class Bad:
    """An object that is invalid, or a document that nobody can read (no name)."""

    name: str | None

    def __str__(self) -> str:
        return invalid(self.name) if self.name else BROKEN


@dataclass(frozen=True)
class Write:
    file: str
    documents: tuple[Good | Bad, ...]
    renamed: bool

    def do(self, root: Path) -> None:
        path = root / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        (replace if self.renamed else Path.write_text)(path, join(*map(str, self.documents)))


@dataclass(frozen=True)
class Delete:
    file: str

    def do(self, root: Path) -> None:
        (root / self.file).unlink(missing_ok=True)


@dataclass(frozen=True)
class Move:
    file: str
    to: str

    def do(self, root: Path) -> None:
        if (root / self.file).exists():
            (root / self.to).parent.mkdir(parents=True, exist_ok=True)
            os.rename(root / self.file, root / self.to)


Edit = Write | Delete | Move

files = st.sampled_from(FILES)
good = st.builds(Good, st.sampled_from(NAMES), st.integers(1, 3))
bad = st.builds(Bad, st.sampled_from([*NAMES, None]))


def edits(document: st.SearchStrategy[Good | Bad]) -> st.SearchStrategy[list[Edit]]:
    documents = st.lists(document, max_size=3).map(tuple)
    write = st.builds(Write, files, documents, st.booleans())
    return st.lists(st.one_of(write, write, st.builds(Delete, files), st.builds(Move, files, files)), max_size=8)


class Model:
    """The rules of the last good version, written down a second time and as plainly as can be."""

    def __init__(self) -> None:
        self.documents: dict[str, tuple[Good | Bad, ...]] = {}
        self.said: dict[str, dict[str, tuple[bool, str]]] = {}  # file → name → (only presumed, host)

    def do(self, edit: Edit) -> None:
        match edit:
            case Write():
                self._set(edit.file, edit.documents)
            case Delete():
                self._drop(edit.file)
            case Move() if edit.file in self.documents and edit.file != edit.to:
                self._set(edit.to, self.documents[edit.file])
                self._drop(edit.file)

    def _drop(self, file: str) -> None:
        self.documents.pop(file, None)
        self.said.pop(file, None)

    def _set(self, file: str, documents: tuple[Good | Bad, ...]) -> None:
        before, now = self.said.get(file, {}), dict[str, tuple[bool, str]]()
        for document in documents:
            if isinstance(document, Good):
                now.setdefault(document.name, (False, document.host))
            elif document.name in before:
                now.setdefault(document.name, (False, before[document.name][1]))
        if Bad(None) in documents:
            for name, (_, host) in before.items():
                now.setdefault(name, (True, host))
        self.documents[file], self.said[file] = documents, now

    @property
    def hosts(self) -> dict[str, str]:
        claims: dict[str, list[tuple[bool, str, str]]] = {}
        for file, said in self.said.items():
            for name, (presumed, host) in said.items():
                claims.setdefault(name, []).append((presumed, file, host))
        return {name: min(candidates)[2] for name, candidates in claims.items()}


def in_folder(test: Callable[[Path, Follower], object]) -> None:
    async def run() -> None:
        with TemporaryDirectory() as folder:
            async with following(Path(folder)) as mesh:
                await test(Path(folder), mesh)  # type: ignore[misc]

    asyncio.run(run())


quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@quick
@given(edits(st.one_of(good, good, bad)))
def test_valid_objects_are_in_force_and_of_invalid_ones_the_last_good_version(sequence: list[Edit]) -> None:
    async def test(root: Path, mesh: Follower) -> None:
        model = Model()
        for edit in sequence:
            edit.do(root)
            model.do(edit)
            await mesh.settle()
            assert mesh.hosts == model.hosts

    in_folder(test)


@quick
@given(edits(good))
def test_watching_valid_edits_ends_where_a_fresh_load_begins(sequence: list[Edit]) -> None:
    """All at once, so that events overtake each other, meet deleted folders, and share batches."""

    async def test(root: Path, mesh: Follower) -> None:
        for edit in sequence:
            edit.do(root)
        await mesh.settle()
        fresh = FileSource(root)
        fresh.load()
        assert dict(mesh.source.objects) == dict(fresh.objects)
        assert mesh.source.reports() == fresh.reports()

    in_folder(test)
