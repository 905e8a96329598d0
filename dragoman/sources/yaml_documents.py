"""YAML and JSON as kubectl reads them: many documents in a file, each with its place in it.

A file is first cut into documents textually, which YAML allows: a line that starts with ``---`` or ``...`` ends a
document wherever it stands, even inside a block scalar (YAML 1.2, section 9.1.2, c-forbidden). So a broken document
never hides its neighbours, and an unchanged one is recognised by the hash of its bytes without being parsed.

Scalars mean what they mean to kubectl (sigs.k8s.io/yaml, YAML 1.1): ``on`` and ``no`` are booleans, ``1e3`` is a
number; but dates and ``12:30`` stay strings, keys are strings always, and a key that occurs twice is an error.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import yaml

_YAML_MARKER = re.compile(rb"^(?:---|\.\.\.)(?=[ \t\r\n]|\Z)", re.MULTILINE)
# Between JSON documents: a newline is never part of a JSON string, and inside one value a comma stands between } and {.
_JSON_SEAM = re.compile(rb"(?<=\})[ \t\r]*\n\s*(?=\{)")
_BLANK_LINES = re.compile(rb"(?:[ \t\r]*\n)*")
_ONLY_DIRECTIVES = re.compile(rb"(?:[ \t\r]*\n|#[^\n]*(?:\n|\Z)|%[^\n]*(?:\n|\Z))*\s*\Z")
_STRING, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"

MAX_NODES = 1_000_000
"""Most nodes of a document once its aliases are followed; a few lines of aliases to aliases could mean billions."""

MAX_DEPTH = 200
"""Deepest nesting. libyaml's binding composes recursively in C: some ten thousand brackets would end the process."""


class DocumentError(Exception):
    """A document that cannot be read. ``line`` counts from 0 at the document's first line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


@dataclass(frozen=True, slots=True)
class Text:
    """The bytes of one document and where it starts: ``line`` counts from 1 in the file."""

    line: int
    data: bytes
    json: bool = False

    @property
    def digest(self) -> bytes:
        return blake2b(self.data, digest_size=16).digest()


def split(data: bytes, *, json: bool = False) -> Iterator[Text]:
    """The documents of a file, in order; blank ones are left out."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    line, start = 1, 0
    seams = [match.span() for match in (_JSON_SEAM if json else _YAML_MARKER).finditer(data)]
    for end, after in [*seams, (len(data), len(data))]:
        first = _BLANK_LINES.match(data, start, end).end()  # type: ignore[union-attr]  # it matches nothing, too
        part = data[first:end]
        if part.strip():
            yield Text(line + data.count(b"\n", start, first), part, json)
        line += data.count(b"\n", start, after)
        start = after


def parse(text: Text) -> Any:
    """The document's value (None for one that holds only comments). Raises DocumentError."""
    if not text.json and b"%" in text.data and _ONLY_DIRECTIVES.match(text.data):
        return None
    try:
        content = text.data.decode()
    except UnicodeDecodeError as error:
        raise DocumentError(text.data.count(b"\n", 0, error.start), "not UTF-8") from None
    try:
        return _parse_json(content) if text.json else _parse_yaml(content)
    except DocumentError as error:
        # An unfinished document is noticed at its end, which may be the line after its last.
        error.line = min(error.line, content.rstrip().count("\n"))
        raise


def line_of(text: Text, path: str) -> int:
    """The line in the file of the node at ``path`` (``spec.http[0].match``), or of its nearest ancestor that is there.

    Composes the document anew: it is asked only where something has to be reported.
    """
    node = _composed(text.data)
    first, line = text.line, node.start_mark.line if node else 0
    while node is not None and path:
        if isinstance(node, yaml.ScalarNode) and node.style == "|":
            # The value of a ConfigMap is a document of its own, which begins in the next line.
            first, line, node = first + line + 1, 0, _composed(node.value.encode())
            continue
        step = _step(node, path)
        if step is None:
            break
        line, node, path = step
    return first + int(line)


@lru_cache(maxsize=1)  # one document's problems are asked about one after the other
def _composed(data: bytes) -> yaml.Node | None:
    try:
        content = data.decode()
        _refuse_depth(content)
        return yaml.compose(content, Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError, DocumentError):
        return None  # JSON that YAML cannot read


def _step(node: yaml.Node, path: str) -> tuple[int, yaml.Node, str] | None:
    """One step down: the line of the child, the child, and the rest of the path."""
    if isinstance(node, yaml.SequenceNode):
        index = re.match(r"\.?\[?(\d+)\]?", path)
        if index is None or int(index[1]) >= len(node.value):
            return None
        child = node.value[int(index[1])]
        return child.start_mark.line, child, path[index.end() :]
    if isinstance(node, yaml.MappingNode):
        path = path.removeprefix(".")
        # Keys hold dots themselves (labels), so the longest key that fits is the right one.
        for key, child in sorted(node.value, key=lambda pair: -len(str(pair[0].value))):
            for spelling in (f"{key.value}", f'["{key.value}"]', f"['{key.value}']", f"[{key.value}]"):
                rest = path.removeprefix(spelling)
                if rest != path and (not rest or rest[0] in ".["):
                    return key.start_mark.line, child, rest
    return None


def _parse_yaml(content: str) -> Any:
    try:
        _refuse_depth(content)
        value = yaml.load(content, Loader=_Loader)  # noqa: S506  a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = ", ".join(part for part in (error.context, error.problem) if part)
        raise DocumentError(mark.line if mark else 0, message) from None
    except yaml.reader.ReaderError as error:
        raise DocumentError(content.count("\n", 0, error.position), f"{error.reason}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise DocumentError(0, str(error)) from None
    if "&" in content and "*" in content:
        _refuse_bomb(value)
    return value


def _refuse_depth(content: str) -> None:
    # Each level needs one of these signs, or a line indented further than the one before, so most documents are safe.
    if sum(map(content.count, ("[", "{", "- ", "? "))) < 10 * MAX_DEPTH:
        return
    depth = 0
    for event in yaml.parse(content, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                line = event.start_mark.line if event.start_mark else 0
                raise DocumentError(line, f"nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _refuse_bomb(value: Any) -> None:
    waiting, count = [value], 0
    while waiting:
        count += 1
        if count > MAX_NODES:
            raise DocumentError(0, f"aliases expand to more than {MAX_NODES} nodes, or without end")
        node = waiting.pop()
        if isinstance(node, dict):
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _parse_json(content: str) -> Any:
    try:
        return json.loads(content, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise DocumentError(error.lineno - 1, error.msg) from None
    except RecursionError:
        raise DocumentError(0, "nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DocumentError(0, f"key {twice!r} occurs twice in one object")
    return mapping


def _refuse_constant(name: str) -> Any:
    raise DocumentError(0, f"{name} is not JSON")


class _Loader(yaml.CSafeLoader):
    """libyaml's parser with kubectl's reading of scalars and keys."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  filled just below

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._checked: set[int] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        # Flattening resolves `<<`, whose keys may be overridden; so look for double keys before, and once per node.
        if id(node) in self._checked:
            return
        self._checked.add(id(node))
        seen: set[str] = set()
        for key_node, _ in node.value:
            if key_node.tag != _MERGE:
                key = self._key(key_node)
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key!r} occurs twice in one mapping", key_node.start_mark
                    )
                seen.add(key)
        super().flatten_mapping(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        self.flatten_mapping(node)
        return {self._key(key): self.construct_object(value, deep=deep) for key, value in node.value}

    def _key(self, node: yaml.Node) -> str:
        if node.tag == _STRING and isinstance(node, yaml.ScalarNode):
            return str(node.value)
        if isinstance(node, yaml.ScalarNode):
            key = self.construct_object(node)
            if isinstance(key, bool):
                return "true" if key else "false"
            if isinstance(key, int | float):
                return str(key)
        raise yaml.constructor.ConstructorError(None, None, "a key has to be a string", node.start_mark)

    def construct_number(self, node: yaml.ScalarNode) -> int | float | str:
        # As JSON, which is what kubectl makes of it, 1.0 and 1 are one number; and what overflows stays a string.
        value = float(node.value.replace("_", ""))
        if math.isinf(value):
            return str(node.value)
        return int(value) if value.is_integer() and abs(value) < 2**53 else value

    def construct_special_number(self, node: yaml.ScalarNode) -> float:
        return float(node.value.lower().replace(".", ""))


def _resolve(name: str, pattern: str, first: str) -> None:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(rf"^(?:{pattern})$"), list(first))


_resolve("bool", "yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", "yYnNtTfFoO")
_resolve("null", "~|null|Null|NULL|", "~nN")
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("^$"), [""])
_resolve("merge", "<<", "<")
_resolve("int", r"[-+]?0b[0-1_]+|[-+]?0o?[0-7_]+|[-+]?0x[0-9a-fA-F_]+|[-+]?(?:0|[1-9][0-9_]*)", "-+0123456789")
_resolve("float", r"[-+]?(?:\.[0-9][0-9_]*|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?", "-+0123456789.")
_resolve("special", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+.")
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_number)
_Loader.add_constructor("tag:yaml.org,2002:special", _Loader.construct_special_number)
