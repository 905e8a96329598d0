"""What one file says: its documents, the objects in them, and what is wrong with them. Pure.

A document whose bytes are the same as before is neither parsed nor decoded again. When something is wrong, the last
good version stays in force: of an object, as long as the file still has a document for it; and of every object that the
file had, as long as the file has a document that cannot be recognised, since it may be any of them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from crds.codes import problem
from crds.decode import decode, kind_of
from crds.meta import IstioObject, KubernetesObject, ObjectKey
from crds.problem import Invalid, Problem, Severity
from crds.registry import KINDS
from crds.support import unsupported
from crds.validate import validate
from dragoman.sources import problems, yaml_documents
from dragoman.sources.change import Report
from dragoman.sources.mesh_settings import problems_of_settings
from dragoman.sources.yaml_documents import DocumentError, Text

Content = bytes | OSError | None
"""What is in a file; None when it is gone; the error when it is there but cannot be read."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem and its line, counted from 0 at the document's first line."""

    line: int
    problem: Problem


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a document. Without ``object`` it is invalid, and without ``key`` it was not even recognised."""

    key: ObjectKey | None
    object: object | None
    findings: tuple[Finding, ...] = ()

    @property
    def broken(self) -> bool:
        return any(finding.problem.severity is Severity.ERROR for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Document:
    digest: bytes
    line: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a file says an object is. ``presumed``: the file cannot be read as a whole, and had the object before."""

    line: int
    object: object
    presumed: bool = False


@dataclass(frozen=True, slots=True)
class Manifest:
    """One file. ``claims`` are its objects in force, in their order in the file."""

    documents: tuple[Document, ...] = ()
    claims: Mapping[ObjectKey, Claim] = field(default_factory=dict)
    unreadable: Problem | None = None


EMPTY = Manifest()


def manifest_of(file: str, content: Content, before: Manifest = EMPTY) -> Manifest | None:
    """The manifest of a file that was ``before``; None when the file is gone."""
    match content:
        case None:
            return None
        case OSError():
            held = {key: replace(claim, presumed=True) for key, claim in before.claims.items()}
            return Manifest(before.documents, held, problems.unreadable(content))
        case bytes():
            documents = _documents(content, file.endswith(".json"), before)
            return Manifest(documents, _claims(documents, before))


def _documents(data: bytes, json: bool, before: Manifest) -> tuple[Document, ...]:
    known = {document.digest: document for document in before.documents}
    documents = []
    for text in yaml_documents.split(data, json=json):
        digest = text.digest
        if document := known.get(digest):
            documents.append(document if document.line == text.line else replace(document, line=text.line))
        else:
            documents.append(Document(digest, text.line, tuple(_entries(text))))
    return tuple(documents)


def reports(file: str, manifest: Manifest, before: Manifest = EMPTY) -> tuple[Report, ...]:
    """What there is to say about a file that has not been said of it ``before``, by line."""
    if manifest.unreadable is not None:
        known = manifest.unreadable == before.unreadable
        return () if known else (Report(file, 1, None, manifest.unreadable, bool(manifest.claims)),)
    said = {document.digest for document in before.documents}
    notes = {
        (entry.key, finding.problem)
        for document in before.documents
        for entry in document.entries
        for finding in entry.findings
        if finding.problem.severity is Severity.INFO
    }
    twice_before = _twice(before)
    again = tuple(
        Report(file, line, key, problems.defined_twice(f"line {first}"))
        for key, (first, line) in _twice(manifest).items()
        if key not in twice_before
    )
    return again + tuple(
        Report(file, document.line + finding.line, entry.key, finding.problem, _kept(manifest, entry))
        for document in manifest.documents
        if document.digest not in said
        for entry in document.entries
        for finding in entry.findings
        if (entry.key, finding.problem) not in notes
    )


def _twice(manifest: Manifest) -> dict[ObjectKey, tuple[int, int]]:
    """The objects that a file defines more than once: the line in force, and the last one that is not."""
    first: dict[ObjectKey, int] = {}
    more: dict[ObjectKey, tuple[int, int]] = {}
    for document in manifest.documents:
        for entry in document.entries:
            if entry.key is None or entry.object is None:
                continue
            if entry.key in first:
                more[entry.key] = (first[entry.key], document.line)
            else:
                first[entry.key] = document.line
    return more


def _kept(manifest: Manifest, entry: Entry) -> bool:
    if not entry.broken:
        return False
    if entry.key is None:
        return any(claim.presumed for claim in manifest.claims.values())
    return entry.key in manifest.claims


def _claims(documents: tuple[Document, ...], before: Manifest) -> dict[ObjectKey, Claim]:
    claims: dict[ObjectKey, Claim] = {}
    broken: dict[ObjectKey, int] = {}
    unrecognised = False
    for document in documents:
        for entry in document.entries:
            if entry.object is not None and entry.key is not None:
                claims.setdefault(entry.key, Claim(document.line, entry.object))
            elif entry.key is not None:
                broken.setdefault(entry.key, document.line)
            elif entry.broken:
                unrecognised = True
    for key, line in broken.items():
        # What can be read, elsewhere in the file, goes before what could be read once.
        if key not in claims and (last_good := before.claims.get(key)):
            claims[key] = Claim(line, last_good.object)
    claims = dict(sorted(claims.items(), key=lambda item: item[1].line))
    if unrecognised:
        for key, claim in before.claims.items():
            claims.setdefault(key, replace(claim, presumed=True))
    return claims


def _entries(text: Text) -> Iterator[Entry]:
    try:
        value = yaml_documents.parse(text)
    except DocumentError as error:
        yield Entry(None, None, (Finding(error.line, problems.syntax(error.message)),))
        return
    if value is not None:
        yield from _objects(text, value, "")


def _objects(text: Text, value: Any, path: str) -> Iterator[Entry]:
    """The objects of a value; ``kind: List`` and typed lists such as ``VirtualServiceList`` are taken apart."""
    if isinstance(value, dict):
        kind, items = value.get("kind"), value.get("items")
        if isinstance(kind, str) and kind.endswith("List") and isinstance(items, list):
            # The items of a typed list need not say what they are.
            typed = {"apiVersion": value.get("apiVersion"), "kind": kind.removesuffix("List")} if kind != "List" else {}
            for index, item in enumerate(items):
                yield from _objects(text, typed | item if isinstance(item, dict) else item, f"{path}items[{index}].")
            return
    yield _object(text, value, path)


def _object(text: Text, document: Any, path: str) -> Entry:
    """One object. Nothing that is wrong with it is an exception here: it is written down, with its line."""
    obj: IstioObject | KubernetesObject | None = None
    found: list[Problem] = []
    try:
        if not isinstance(document, dict):
            raise Invalid((problem("DRG0100", "", "a document is an object with apiVersion, kind and metadata"),))
        if kind_of(document) is None:
            found.append(problems.ignored_kind(f"{document['kind']} {_name(document)}"))
        else:
            obj = decode(document)
            found += [*validate(obj), *unsupported(obj), *_written_by_the_cluster(obj, document)]
            found += problems_of_settings(obj)
    except Invalid as error:
        found += error.problems
    findings = tuple(_locate(text, path, each) for each in found)
    if any(each.severity is Severity.ERROR for each in found):
        return Entry(obj.key if obj else _key(document), None, findings)
    return Entry(obj.key if obj else None, obj, findings)


def _key(document: Any) -> ObjectKey | None:
    """The key that an invalid document would have, where it says that much."""
    if not isinstance(document, dict) or not isinstance(metadata := document.get("metadata"), dict):
        return None
    kind, name, namespace = KINDS.get(str(document.get("kind"))), metadata.get("name"), metadata.get("namespace")
    if kind is None or not isinstance(name, str) or not name or not isinstance(namespace, str | None):
        return None
    return ObjectKey(kind.__name__, (namespace or "default") if kind.resource.namespaced else "", name)


def _name(document: dict[str, Any]) -> str:
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        return "without a name"
    return "/".join(str(metadata[part]) for part in ("namespace", "name") if metadata.get(part))


def _written_by_the_cluster(obj: object, document: dict[str, Any]) -> Iterator[Problem]:
    # The status of Kubernetes' own kinds is read: a pod's address stands there.
    fields = ["status"] if document.get("status") and isinstance(obj, IstioObject) else []
    if document["metadata"].get("managedFields"):
        fields.append("metadata.managedFields")
    if fields:
        yield problems.ignored_fields(fields[0], " and ".join(fields))


def _locate(text: Text, prefix: str, found: Problem) -> Finding:
    """With its path from the root of the document: a problem of an item of a list is one of the list."""
    path = (prefix + found.path).removesuffix(".")
    if not path:
        return Finding(0, found)
    line = yaml_documents.line_of(text, path) - text.line
    return Finding(line, msgspec.structs.replace(found, path=path) if prefix else found)
