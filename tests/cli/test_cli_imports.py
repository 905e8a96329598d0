"""A command loads what it needs: to ask for help or a version should not wait for all of Envoy's API."""

import subprocess
import sys

import pytest

HEAVY = (
    "aiohttp",
    "cryptography",
    "envoy_data_plane",
    "grpc",
    "jwt",
    "kubernetes_asyncio",
    "rich",
    "structlog",
)
OURS = ("crds", "dragoman.mesh", "dragoman.runtime.control_plane", "dragoman.sources", "translators", "xds")

SCRIPT = """
import sys
from typer.testing import CliRunner
from dragoman.cli.main import app
assert CliRunner().invoke(app, sys.argv[1:]).exit_code == 0
print(*sys.modules)
"""


def _loads(*arguments: str) -> set[str]:
    """Of what takes long to load, what a command does."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True)
    return {*HEAVY, *OURS}.intersection(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "may"),
    [
        (["--help"], set()),
        (["version", "--no-remote"], set()),
        (["validate", "--help"], {"crds", "cryptography", "dragoman.mesh", "dragoman.sources"}),
        (["token", "--help"], {"aiohttp", "crds", "cryptography", "jwt", "rich", "structlog"}),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_a_command_loads_what_it_needs(arguments: list[str], may: set[str]) -> None:
    assert _loads(*arguments) <= may
