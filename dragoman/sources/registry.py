"""Which objects are in force, given what every file says. Pure.

Several files may hold the same object. The one whose path sorts first decides, whatever came first in time, so that a
restart gives the same mesh; a file that can be read goes before one that only *had* the object. The others are reported
and take over when it goes.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from crds.meta import ObjectKey
from dragoman.sources import manifest, problems
from dragoman.sources.change import Batch, Change, Report
from dragoman.sources.manifest import EMPTY, Claim, Content, Manifest


class Registry:
    """The manifests of all files by path, and the objects that follow from them."""

    def __init__(self) -> None:
        self._manifests: dict[str, Manifest] = {}
        self._claimants: dict[ObjectKey, dict[str, Claim]] = {}
        self._objects: dict[ObjectKey, object] = {}

    @property
    def objects(self) -> Mapping[ObjectKey, object]:
        """The objects in force."""
        return MappingProxyType(self._objects)

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(self._manifests)

    def location(self, key: ObjectKey) -> str | None:
        """`file:line` of the document that an object in force comes from; None when there is no such object."""
        if key not in self._claimants:
            return None
        file, line = self.place(key)
        return f"{file}:{line}"

    def place(self, key: ObjectKey) -> tuple[str, int]:
        """File and line of the document that an object in force comes from."""
        file, claim = self._ranked(key)[0]
        return file, claim.line

    def reports(self) -> tuple[Report, ...]:
        """Everything that is to be said about the files as they are, in their order."""
        said = [report for file, value in self._manifests.items() for report in manifest.reports(file, value)]
        for key in self._claimants:
            said.extend(self._conflicts(key))
        return tuple(sorted(said, key=_place))

    def read(self, contents: Mapping[str, Content]) -> dict[str, Manifest | None]:
        """The manifests of files with these contents. This is the slow part; it changes nothing: a thread may do it."""
        return {
            file: manifest.manifest_of(file, content, self._manifests.get(file, EMPTY))
            for file, content in contents.items()
        }

    def update(self, manifests: Mapping[str, Manifest | None]) -> Batch:
        """Take in what some files say now, as `read` gave it. All of it is one batch."""
        said: list[Report] = []
        before: dict[ObjectKey, dict[str, Claim]] = {}
        for file, value in manifests.items():
            old, new = self._manifests.get(file, EMPTY), value or EMPTY
            said.extend(manifest.reports(file, new, old))
            for key in old.claims.keys() | new.claims.keys():
                if not _same(old.claims.get(key), new.claims.get(key)):
                    before.setdefault(key, dict(self._claimants.get(key, {})))
            self._replace(file, old, value)
        changes = []
        for key in sorted(before):
            was, now = self._objects.get(key), self._winner(key)
            if was != now:
                changes.append(Change(key, was, now))
            if now is None:
                self._objects.pop(key, None)
            else:
                self._objects[key] = now if was != now else was
            if before[key].keys() != self._claimants.get(key, {}).keys():
                said.extend(self._conflicts(key))
        return Batch(tuple(changes), tuple(sorted(said, key=_place)))

    def _replace(self, file: str, old: Manifest, new: Manifest | None) -> None:
        for key in old.claims:
            self._claimants[key].pop(file)
            if not self._claimants[key]:
                del self._claimants[key]
        self._manifests.pop(file, None)
        if new is not None:
            self._manifests[file] = new
            for key, claim in new.claims.items():
                self._claimants.setdefault(key, {})[file] = claim

    def _ranked(self, key: ObjectKey) -> list[tuple[str, Claim]]:
        return sorted(self._claimants.get(key, {}).items(), key=lambda item: (item[1].presumed, item[0]))

    def _winner(self, key: ObjectKey) -> object | None:
        claims = self._claimants.get(key)
        return self._ranked(key)[0][1].object if claims else None

    def _conflicts(self, key: ObjectKey) -> Iterator[Report]:
        ranked = [(file, claim) for file, claim in self._ranked(key) if not claim.presumed]
        for file, claim in ranked[1:]:
            winner, first = ranked[0]
            yield Report(file, claim.line, key, problems.defined_twice(f"{winner}:{first.line}"))


def _same(one: Claim | None, other: Claim | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.object is other.object and one.presumed == other.presumed


def _place(report: Report) -> tuple[str, int, str, str]:
    return (report.file, report.line, report.problem.code, report.problem.path)
