"""Files that are replaced together, and that only their owner can read."""

import os
import stat
from pathlib import Path

import pytest

from ca import key_folder

NAMES = ("key.pem", "cert-chain.pem", "root-cert.pem")


def written(folder: Path, mark: bytes) -> None:
    key_folder.write(folder, key=b"key " + mark, chain=b"chain " + mark, roots=b"roots " + mark)


def test_what_is_written_is_read_and_belongs_to_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    assert key_folder.read(folder) is None
    before = os.umask(0)
    try:
        written(folder, b"1")
    finally:
        os.umask(before)
    assert key_folder.read(folder) == (b"key 1", b"chain 1", b"roots 1")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in NAMES} == {0o600}


def test_one_rename_replaces_all_and_leaves_no_older_key(tmp_path: Path) -> None:
    written(tmp_path, b"1")
    links = {name: os.readlink(tmp_path / name) for name in NAMES}
    written(tmp_path, b"2")
    assert {name: os.readlink(tmp_path / name) for name in NAMES} == links
    assert [(tmp_path / name).read_bytes() for name in NAMES] == [b"key 2", b"chain 2", b"roots 2"]
    assert len([each for each in tmp_path.iterdir() if each.is_dir() and not each.is_symlink()]) == 1


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, b"1")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        written(tmp_path, b"2")
    assert key_folder.read(tmp_path) == (b"key 1", b"chain 1", b"roots 1")
    assert len([each for each in tmp_path.iterdir() if each.is_dir() and not each.is_symlink()]) == 1


def test_files_that_were_there_before_are_replaced_by_links(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("of somebody else")
    written(tmp_path, b"1")
    assert (tmp_path / "key.pem").read_bytes() == b"key 1"
