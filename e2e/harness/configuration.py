"""The folder of YAML that the control plane watches."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml


class Configuration:
    """One file per object; each appears, changes and goes as a whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def apply(self, *objects: str | Mapping[str, Any]) -> None:
        """Create or replace objects: YAML texts of one or more documents, or objects as they are.

        An object that is there already, and the same, is left alone.
        """
        for each in _documents(objects):
            path = self._path(each["kind"], each["metadata"]["name"], each["metadata"].get("namespace"))
            text = yaml.safe_dump(dict(each), sort_keys=False)
            if path.exists() and path.read_text() == text:
                continue
            draft = path.with_suffix(".draft")  # a name that is no YAML file's, so that nobody reads the half of it
            draft.write_text(text)
            draft.replace(path)

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
        draft.write_text("---\n".join(yaml.safe_dump(dict(each), sort_keys=False) for each in _documents(objects)))
        draft.replace(self.joint)

    @property
    def joint(self) -> Path:
        """The file of `together`."""
        return self.folder / "together.yaml"

    def delete(self, kind: str, name: str, namespace: str | None = "default") -> None:
        """Delete an object. Raises FileNotFoundError when there is none."""
        self._path(kind, name, namespace).unlink()

    def policies(self) -> set[tuple[str, str, str]]:
        """Kind, namespace and name of the objects of Istio's API."""
        found = set()
        for file in self.folder.glob("*.yaml"):
            for each in _documents([file.read_text()]):
                if ".istio.io/" in each["apiVersion"]:
                    found.add((each["kind"], each["metadata"].get("namespace", "default"), each["metadata"]["name"]))
        return found

    def _path(self, kind: str, name: str, namespace: str | None) -> Path:
        return self.folder / f"{namespace or 'cluster'}.{kind.lower()}.{name}.yaml"


def _documents(objects: Iterable[str | Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    for each in objects:
        if isinstance(each, str):
            yield from (document for document in yaml.safe_load_all(each) if document)
        else:
            yield each
