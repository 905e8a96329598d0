"""YAML as kubectl reads it, cut into documents that stand on their own."""

import pytest

from dragoman.sources.yaml_documents import DocumentError, Text, line_of, parse, split


def load(text: str) -> object:
    (document,) = split(text.encode())
    return parse(document)


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("on", True),
        ("No", False),
        ("y", "y"),
        ("2020-01-01", "2020-01-01"),
        ("2020-01-01T10:00:00Z", "2020-01-01T10:00:00Z"),
        ("12:30", "12:30"),
        ("::1", "::1"),
        ("1e3", 1000),
        ("12e4567", "12e4567"),
        ("1.50", 1.5),
        ("1.0", 1),
        ("1.2.3", "1.2.3"),
        ("0x10", 16),
        ("010", 8),
        ("=", "="),
        ("'on'", "on"),
        ("~", None),
        ("", None),
        ("-.inf", float("-inf")),
    ],
)
def test_a_scalar_means_what_it_means_to_kubectl(scalar: str, value: object) -> None:
    assert load(f"a: {scalar}") == {"a": value}


def test_keys_are_strings_as_in_json() -> None:
    assert load("{8080: a, on: b, 1.5: c}") == {"8080": "a", "true": "b", "1.5": "c"}


def test_merge_keys_may_be_overridden_but_a_key_may_not_occur_twice() -> None:
    assert load("base: &b {x: 1, y: 1}\nmine: {<<: *b, x: 2}\nours: &o {<<: *b, y: 3}\nyours: {<<: *o}") == {
        "base": {"x": 1, "y": 1},
        "mine": {"x": 2, "y": 1},
        "ours": {"x": 1, "y": 3},
        "yours": {"x": 1, "y": 3},
    }
    with pytest.raises(DocumentError, match="'x' occurs twice") as caught:
        load("a: 1\nb:\n  x: 1\n  x: 2")
    assert caught.value.line == 3


def test_documents_are_cut_at_markers_wherever_they_stand() -> None:
    text = b"# c\n%YAML 1.1\n---\n\na: |\n  text\n  ---\n--- {b: 1}\n---\n...\n--- # comment\nc: [\n---x: 1\n---"
    documents = list(split(text))
    assert [document.line for document in documents] == [1, 5, 8, 11]
    assert [parse(document) for document in documents[:3]] == [None, {"a": "text\n---\n"}, {"b": 1}]
    with pytest.raises(DocumentError):
        parse(documents[3])


def test_windows_line_ends_and_a_byte_order_mark() -> None:
    documents = list(split(b"\xef\xbb\xbfa: 1\r\n---\r\nb: 2\r\n"))
    assert [(document.line, parse(document)) for document in documents] == [(1, {"a": 1}), (3, {"b": 2})]


def test_json_documents_follow_each_other_on_lines_of_their_own() -> None:
    documents = list(
        split(b'{"a": {\n"b": "}\\n{"}}\n\n{"c": "\\ud83d\\ude00\\/"}\n{"d":}\n{"e": 1, "e": 2}', json=True)
    )
    assert [parse(document) for document in documents[:2]] == [{"a": {"b": "}\n{"}}, {"c": "😀/"}]
    assert [document.line for document in documents] == [1, 4, 5, 6]
    for broken in documents[2:]:
        with pytest.raises(DocumentError):
            parse(broken)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a: &a [*a]", "aliases expand"),
        (b"a: &a [1,1]\n" + b"".join(b"%c: &%c [*%c,*%c]\n" % (i, i, i - 1, i - 1) for i in range(98, 122)), "aliases"),
        (b"[" * 100_000, "nested deeper"),
        (b"- " * 100_000, "nested deeper"),
        (b"a: \xff", "UTF-8"),
        (b"a: !!python/object/apply:os.getcwd []", "constructor"),
        (b"? [a]\n: b", "a key has to be a string"),
        (b"a: \x01", "control characters"),
    ],
)
def test_hostile_documents_are_refused(text: bytes, message: str) -> None:
    (document,) = split(text)
    with pytest.raises(DocumentError, match=message):
        parse(document)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("spec.http[0].route[1].weight", 17),
        ("spec.http[0].route[1].destination.host", 16),
        ("metadata.labels.app.kubernetes.io/name", 13),
        ('metadata.labels["app.kubernetes.io/name"]', 13),
        ("spec.http[7]", 14),
        ("metadata.namespace", 11),
        ("", 10),
    ],
)
def test_a_path_leads_to_its_line_or_that_of_its_nearest_ancestor(path: str, line: int) -> None:
    text = """kind: VirtualService
metadata:
  labels:
    app.kubernetes.io/name: x
spec: {http: [
  {route: [{weight: 1},
   {destination: {host: b},
    weight: x}]}]}
"""
    assert line_of(Text(10, text.encode()), path) == line
