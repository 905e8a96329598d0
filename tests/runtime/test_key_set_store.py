"""Keys in a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from crds import jwks
from dragoman.mesh.request_authentications import KeySource
from dragoman.runtime.key_set_store import KeySetStore
from tests.support.json_web_keys import key_set, signing_key

SOURCES = (KeySource("https://a.example/keys", discovered=False), KeySource("https://b.example", discovered=True))
TEXT = jwks.read(key_set(signing_key("a")), shared_secrets=False).text or ""


def test_what_is_kept_is_there_again_for_this_user_only(tmp_path: Path) -> None:
    path = tmp_path / "state" / "key-sets.json"
    KeySetStore(path).save(dict.fromkeys(SOURCES, TEXT))
    assert KeySetStore(path).load() == dict.fromkeys(SOURCES, TEXT)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_without_a_path_nothing_is_kept() -> None:
    KeySetStore().save(dict.fromkeys(SOURCES, TEXT))
    assert KeySetStore().load() == {}


def test_a_file_that_others_may_write_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "key-sets.json"
    KeySetStore(path).save(dict.fromkeys(SOURCES, TEXT))
    path.chmod(0o660)
    assert KeySetStore(path).load() == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        json.dumps({"format": 2, "sources": []}),
        json.dumps({"format": 1, "sources": [{"uri": "u", "discovered": False, "keys": "nonsense"}]}),
    ],
)
def test_a_file_of_nonsense_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key-sets.json"
    path.write_text(text)
    path.chmod(0o600)
    with capture_logs() as logs:
        assert KeySetStore(path).load() == {}
    (told,) = logs
    assert (told["event"], told["of"], told["file"]) == ("kept state is not read", "keys of token issuers", str(path))


def test_an_issuer_without_keys_is_nothing_to_remember(tmp_path: Path) -> None:
    path = tmp_path / "key-sets.json"
    KeySetStore(path).save({SOURCES[0]: json.dumps({"keys": []})})
    assert KeySetStore(path).load() == {}


def test_keys_that_cannot_be_kept_are_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with capture_logs() as logs:
        KeySetStore(tmp_path / "file" / "key-sets.json").save(dict.fromkeys(SOURCES, TEXT))
    assert [each["event"] for each in logs] == ["state cannot be kept"]
