"""The folder of YAML that the control plane watches."""

import contextlib
import copy
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml


class Configuration:
    """One file per object; each appears, changes and goes as a whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._written: dict[Path, Mapping[str, Any]] = {}
        self._policies: dict[Path, tuple[tuple[int, int], set[tuple[str, str, str]]]] = {}
        """What is in a file, of a state of it (its inode and time): tests write files of their own as well."""

    def apply(self, *objects: str | Mapping[str, Any]) -> None:
        """Create or replace objects: YAML texts of one or more documents, or objects as they are.

        An object that is there already, and the same, is left alone.
        """
        for each in _documents(objects):
            path = self._path_of(each)
            if self._written.get(path) == each and path.exists():
                continue
            draft = path.with_suffix(".draft")  # a name that is no YAML file's, so that nobody reads the half of it
            draft.write_text(as_yaml(each))
            draft.replace(path)
            self._written[path] = copy.deepcopy(each)

    @contextlib.contextmanager
    def during(self, *objects: str | Mapping[str, Any]) -> Iterator[None]:
        """Objects that are there for the length of a block, and gone after it."""
        self.apply(*objects)
        try:
            yield
        finally:
            for each in _documents(objects):
                self.delete(each["kind"], each["metadata"]["name"], each["metadata"].get("namespace"))

    def together(self, *objects: str | Mapping[str, Any]) -> None:
        """Replace what this was given before by these objects: one file, and so one transaction."""
        draft = self.joint.with_suffix(".draft")
        draft.write_text(as_yaml(*_documents(objects)))
        draft.replace(self.joint)

    @property
    def joint(self) -> Path:
        """The file of `together`."""
        return self.folder / "together.yaml"

    def delete(self, kind: str, name: str, namespace: str | None = "default") -> None:
        """Delete an object. Raises FileNotFoundError when there is none."""
        path = self._path(kind, name, namespace)
        self._written.pop(path, None)
        path.unlink()

    def state(self, *, besides: Mapping[str, Any]) -> Mapping[Path, tuple[int, int]]:
        """Inode and time of every file but that of one object: tells whether anybody has written or deleted any."""
        file_besides = self._path_of(besides)
        statuses = {file: file.stat() for file in self.folder.glob("*.yaml") if file != file_besides}
        return {file: (status.st_ino, status.st_mtime_ns) for file, status in statuses.items()}

    def policies(self) -> set[tuple[str, str, str]]:
        """Kind, namespace and name of the objects of Istio's API."""
        return {policy for file in self.folder.glob("*.yaml") for policy in self._policies_of(file)}

    def _policies_of(self, file: Path) -> set[tuple[str, str, str]]:
        status = file.stat()
        state = (status.st_ino, status.st_mtime_ns)
        known = self._policies.get(file)
        if known is not None and known[0] == state:
            return known[1]
        found = {
            (each["kind"], each["metadata"].get("namespace", "default"), each["metadata"]["name"])
            for each in _documents([file.read_text()])
            if ".istio.io/" in each["apiVersion"]
        }
        self._policies[file] = state, found
        return found

    def _path_of(self, each: Mapping[str, Any]) -> Path:
        return self._path(each["kind"], each["metadata"]["name"], each["metadata"].get("namespace"))

    def _path(self, kind: str, name: str, namespace: str | None) -> Path:
        return self.folder / f"{namespace or 'cluster'}.{kind.lower()}.{name}.yaml"


def _documents(objects: Iterable[str | Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    for each in objects:
        if isinstance(each, str):
            yield from (document for document in yaml.load_all(each, _Loader) if document)
        else:
            yield each


def as_yaml(*documents: Mapping[str, Any]) -> str:
    """Documents as the text of a file."""
    return yaml.dump_all(map(dict, documents), Dumper=_Dumper, sort_keys=False)


# Ten times as fast as PyYAML's own, where it was built with libyaml.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
