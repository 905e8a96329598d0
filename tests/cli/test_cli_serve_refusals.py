"""What keeps `dragoman serve` from starting is said in a line, and ends it with 1."""

import socket
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ca.authority import new_root
from tests.cli.cli_runs import Attempt, attempts, serving
from tests.cli.plugged_in_folder import put
from tests.debug.running_plane import MESH

ANYWHERE = "127.0.0.1:0"


@pytest.fixture(scope="module")
def attempt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attempt]:
    with attempts(tmp_path_factory.mktemp("state")) as attempt:
        yield attempt


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "mesh"
    folder.mkdir()
    (folder / "mesh.yaml").write_text(MESH)
    return folder


def refused(attempt: Attempt, *arguments: str | Path) -> list[str]:
    """What `serve` tells before it ends by itself; ports are free ones unless it is told which."""
    free = [
        part
        for option in ("--http-address", "--secure-address")
        if option not in arguments
        for part in (option, ANYWHERE)
    ]
    code, told = attempt("serve", *arguments, *free)
    assert code == 1
    assert not any("Traceback" in line for line in told)
    return told


@pytest.mark.parametrize("option", ["--xds-address", "--http-address", "--secure-address"])
def test_a_taken_port(attempt: Attempt, folder: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        told = refused(attempt, "--config", folder, option, address)
    assert told[-1].startswith(f"dragoman: cannot listen on {address}")
    assert option == "--xds-address" or f"({option})" in told[-1]


def test_a_broken_authority(attempt: Attempt, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca" / "ca-key.pem").write_text("no key")
    (told,) = refused(attempt, "--config", folder, "--state-dir", tmp_path)
    assert told.startswith("dragoman: no certificate authority: ")


def test_a_plugged_in_ca_that_is_broken(attempt: Attempt, folder: Path, tmp_path: Path) -> None:
    given = put(tmp_path / "cacerts", new_root("acme", now=datetime.now(UTC)))
    (given / "root-cert.pem").unlink()
    told = refused(attempt, "--config", folder, "--state-dir", tmp_path / "state", "--ca-dir", given)
    assert "root-cert.pem missing" in told[-1]


def test_plaintext_beyond_this_machine_says_what_it_means(attempt: Attempt, folder: Path) -> None:
    """The address is one that this machine does not have, so nothing listens on it."""
    told = refused(attempt, "--config", folder, "--xds-address", "192.0.2.1:15010", "--insecure-xds")
    assert told[0].startswith("warning: 192.0.2.1:15010 is plaintext")
    assert "No private key is given over it" in told[0]
    assert "cannot listen on 192.0.2.1:15010" in told[-1]


def test_a_file_in_the_sockets_place_is_left_alone(attempt: Attempt, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    told = refused(attempt, "--config", folder, "--xds-socket", path)
    assert "is no socket" in told[-1]
    assert path.read_text() == "data"


async def test_a_unix_socket_is_its_owners_alone_and_goes_with_the_process(
    attempt: Attempt, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "xds.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    async with serving("--config", folder, "--xds-socket", path, state=tmp_path) as running:
        await running.hear(rf"serving proxies at .*, unix://{path}")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        told = refused(attempt, "--config", folder, "--xds-address", f"unix://{path}")
        assert f"another process listens on {path}" in told[-1]
        assert path.exists()
        assert await running.end() == 0
    assert not path.exists()
