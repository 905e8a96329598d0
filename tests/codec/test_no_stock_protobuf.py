"""Product code uses the codec, not betterproto2's own methods: they are 30 to 3000 times slower and wrong in places."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("dragoman", "xds", "translators", "ca", "crds")
CODEC = ROOT / "dragoman" / "codec"

# Methods whose name says protobuf whatever they are called on.
PROTOBUF_METHODS = {"SerializeToString", "FromString", "ParseFromString"}
# Methods that other things have too: forbidden in modules that import message classes, on what may be a message.
MESSAGE_METHODS = {"parse", "to_dict", "from_dict", "to_json", "from_json", "pack", "unpack"}


def imported_from(tree: ast.AST, *packages: str) -> set[str]:
    """Return the names that a module binds to things of `packages`."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in packages:
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {
                alias.asname or alias.name.split(".")[0] for alias in node.names if alias.name.split(".")[0] in packages
            }
    return names


def root_name(node: ast.expr) -> str | None:
    """Return the name an expression such as `a.b(c).d` starts from."""
    while not isinstance(node, ast.Name):
        match node:
            case ast.Attribute(value=inner) | ast.Call(func=inner) | ast.Subscript(value=inner):
                node = inner
            case _:
                return None
    return node.id


def message_names(tree: ast.AST, classes: set[str]) -> set[str]:
    """Return the variables that are annotated as, or assigned, something of a message class."""
    names = set(classes)
    for node in ast.walk(tree):
        match node:
            case ast.arg(arg=name, annotation=ast.expr() as annotation):
                mentioned = annotation
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                mentioned = annotation
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call):
                mentioned = call.func
            case _:
                continue
        if root_name(mentioned) in classes or any(
            isinstance(part, ast.Name) and part.id in classes for part in ast.walk(mentioned)
        ):
            names.add(name)
    return names


def offences(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of each use of betterproto2's own encoding, decoding or JSON."""
    tree = ast.parse(source)
    messages = message_names(tree, imported_from(tree, "envoy_data_plane", "betterproto2"))
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=attribute) if attribute in PROTOBUF_METHODS:
                yield node.lineno, f".{attribute}"
            case ast.Call(func=ast.Attribute(value=owner, attr=attribute)) if attribute in MESSAGE_METHODS:
                if root_name(owner) in messages:
                    yield node.lineno, f".{attribute}()"
            # Of a variable or a result in a module that builds messages; bytes(packed.value) copies bytes.
            case ast.Call(func=ast.Name(id="bytes"), args=[ast.Name() | ast.Call()]) if messages:
                yield node.lineno, "bytes()"


MODULES = [path for folder in PRODUCT for path in sorted((ROOT / folder).rglob("*.py")) if CODEC not in path.parents]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_codec_touches_the_wire(path: Path) -> None:
    assert list(offences(path.read_text())) == []


IMPORTS = "from envoy_data_plane.envoy.config.cluster.v3 import Cluster\nfrom envoy_data_plane.google import protobuf\n"


@pytest.mark.parametrize(
    "code",
    [
        "bytes(Cluster(name='a'))",
        "def f(cluster: Cluster) -> bytes:\n    return bytes(cluster)",
        "def f(cluster: 'x', c: Cluster | None) -> bytes:\n    return bytes(c)",
        "cluster = Cluster(name='a')\nbytes(cluster)",
        "bytes(build())",
        "Cluster().parse(b'')",
        "Cluster.parse(b'')",
        "cluster = Cluster()\ncluster.to_dict()",
        "Cluster.from_dict({})",
        "protobuf.Struct.from_dict({})",
        "protobuf.Any.pack(Cluster())",
        "x = 1\nx.SerializeToString()",
        "list(map(Cluster.SerializeToString, []))",
    ],
)
def test_stock_calls_are_found(code: str) -> None:
    assert len(list(offences(IMPORTS + code))) == 1


def test_modules_without_messages_may_do_as_they_like() -> None:
    assert list(offences("import json\nbytes(x)\nHost.parse(x)\njson.to_dict(x)")) == []


@pytest.mark.parametrize(
    "code",
    [
        "bytes(5)",
        "bytes([1, 2])",
        "def f(packed: protobuf.Any) -> bytes:\n    return bytes(packed.value)",
        "from pathlib import Path\nPath.parse('x')",
        "import urllib.parse\nurllib.parse.urlparse('x')",
        "class Host:\n    def to_dict(self): ...\nHost().to_dict()",
        "from dragoman.codec import encode, to_json\nto_json(Cluster, encode(Cluster()))",
    ],
)
def test_other_calls_are_not(code: str) -> None:
    assert list(offences(IMPORTS + code)) == []
