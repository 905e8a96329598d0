"""`dragoman ca`, and what `dragoman serve` does with the CA."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from ca.authority import new_root
from ca.root_store import load_or_create
from tests.cli.cli_runs import run, serving
from tests.cli.plugged_in_folder import put
from tests.support.until import until


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mesh").mkdir()
    return tmp_path / "mesh"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def roots(state: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(run("ca", "root", "--state-dir", state).stdout.encode())


def status(state: Path) -> str:
    return run("ca", "status", "--state-dir", state, "-o", "json").stdout


@pytest.mark.parametrize("command", ["status", "root", "rotate"])
def test_without_a_ca_they_say_what_to_do(state: Path, command: str) -> None:
    result = run("ca", command, "--state-dir", state)
    assert result.exit_code == 1
    assert "start `dragoman serve`" in result.stderr


async def test_a_rotation_from_the_files_of_earlier_versions_is_begun_shown_and_hurried(
    folder: Path, state: Path
) -> None:
    before = load_or_create(state / "ca", "cluster.local", now=datetime.now(UTC))
    async with serving("--config", folder, "--state-dir", state, state=state) as running:
        await running.secure_port()
        (old,) = await asyncio.to_thread(roots, state)
        assert old == before.certificate
        assert not (state / "ca" / "ca-key.pem").exists()
        begun = await asyncio.to_thread(run, "ca", "rotate", "--state-dir", state, "-o", "json")
        assert begun.exit_code == 0
        assert json.loads(begun.stdout)["phase"] == "distributing"
        await until(lambda: asyncio.to_thread(lambda: json.loads(status(state))["controlPlanes"][0]["trustsAll"]))
        assert old in await asyncio.to_thread(roots, state)
        again = await asyncio.to_thread(run, "ca", "rotate", "--state-dir", state)
        assert again.exit_code == 1
        assert "a rotation is going on" in again.stderr
        shown = await asyncio.to_thread(run, "ca", "status", "--state-dir", state, "-o", "yaml")
        assert [root["role"] for root in yaml.safe_load(shown.stdout)["roots"]] == ["signs", "next"]
        for phase in ("retiring", "steady"):
            hurried = await asyncio.to_thread(run, "ca", "rotate", "--proceed", "--state-dir", state)
            assert hurried.exit_code == 0
            await until(lambda: asyncio.to_thread(lambda: phase == json.loads(status(state))["phase"]))  # noqa: B023
        assert await asyncio.to_thread(roots, state) != [old]
        assert await running.end() == 0
    phases = [json.loads(line)["phase"] for line in running.logged if '"rotation of the CA"' in line]
    assert phases == ["steady", "distributing", "retiring", "steady"]
    assert not any("PRIVATE KEY" in line for line in (*running.logged, *running.told))


async def test_a_plugged_in_ca_is_used_followed_and_not_rotated_from_here(
    folder: Path, state: Path, tmp_path: Path
) -> None:
    one, two = (new_root("acme", now=datetime.now(UTC)) for _ in range(2))
    given = put(tmp_path / "cacerts", one)
    async with serving("--config", folder, "--state-dir", state, "--ca-dir", given, state=state) as running:
        await running.secure_port()
        assert await asyncio.to_thread(roots, state) == [one.certificate]
        refused = await asyncio.to_thread(run, "ca", "rotate", "--state-dir", state)
        assert refused.exit_code == 1
        assert "--ca-dir" in refused.stderr
        put(given, two)
        await until(lambda: asyncio.to_thread(lambda: roots(state) == [one.certificate, two.certificate]))
        assert await running.end() == 0
