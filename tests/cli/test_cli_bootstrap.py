"""`dragoman bootstrap`: what an Envoy starts with."""

import json
import shlex
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from envoy_data_plane.envoy.config.bootstrap.v3 import Bootstrap

from dragoman.codec import from_json
from tests.cli.cli_runs import run

SIDECAR = "sidecar~10.1.0.1~web-1.shop~shop.svc.cluster.local"


def printed(*arguments: str) -> dict[str, Any]:
    result = run("bootstrap", "--proxy", SIDECAR, *arguments)
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    from_json(Bootstrap, document)
    return document


def xds_endpoint(document: dict[str, Any]) -> dict[str, Any]:
    cluster = next(c for c in document["staticResources"]["clusters"] if c["name"] == "xds-grpc")
    address: dict[str, Any] = cluster["loadAssignment"]["endpoints"][0]["lbEndpoints"][0]["endpoint"]["address"]
    return address


def test_options_are_where_envoy_looks_for_them() -> None:
    document = printed(
        *("--xds", "127.0.0.1:15999", "--admin-port", "15777", "--service-account", "web", "--workload", "web"),
        *("--label", "app=web", "--label", "version=v1", "--http-proxy-port", "15080"),
    )
    node = document["node"]
    assert node["id"] == SIDECAR
    assert node["metadata"]["SERVICE_ACCOUNT"] == "web"
    assert node["metadata"]["LABELS"] == {"app": "web", "version": "v1"}
    assert node["metadata"]["HTTP_PROXY_PORT"] == "15080"
    assert node["metadata"]["INTERCEPTION_MODE"] == "REDIRECT"
    assert document["admin"]["address"]["socketAddress"] == {"address": "127.0.0.1", "portValue": 15777}
    assert document["dynamicResources"]["adsConfig"]["apiType"] == "DELTA_GRPC"
    assert xds_endpoint(document) == {"socketAddress": {"address": "127.0.0.1", "portValue": 15999}}


def test_a_token_brings_tls_and_the_files_that_envoy_is_to_watch(tmp_path: Path) -> None:
    token, output = tmp_path / "web.token", tmp_path / "envoy.json"
    issued = run("token", "web-1.shop", "--service-account", "web", "--state-dir", tmp_path / "state", "-o", token)
    assert issued.exit_code == 0, issued.output
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    options = ("--token-file", token, "--root-file", tmp_path / "root.pem", "--server-name", "dragoman.mesh.svc")
    result = run("bootstrap", "--proxy", SIDECAR, *options, "--output", output)
    assert result.exit_code == 0, result.output
    document = json.loads(output.read_text())
    assert xds_endpoint(document) == {"socketAddress": {"address": "127.0.0.1", "portValue": 15012}}
    assert document["node"]["metadata"]["SERVICE_ACCOUNT"] == "web"
    assert str(tmp_path / "envoy.token.json") in output.read_text()
    assert str(tmp_path / "envoy.root.json") in output.read_text()
    assert str(token) in (tmp_path / "envoy.token.json").read_text()
    assert "dragoman.mesh.svc" in (tmp_path / "envoy.root.json").read_text()
    assert token.read_text() not in output.read_text() + (tmp_path / "envoy.token.json").read_text()


def test_google_grpc_needs_no_files_beside_the_bootstrap(tmp_path: Path) -> None:
    document = printed("--token-file", "/run/token", "--root-file", "/run/root.pem", "--google-grpc")
    (service,) = document["dynamicResources"]["adsConfig"]["grpcServices"]
    assert service["googleGrpc"]["targetUri"] == "127.0.0.1:15012"
    assert "/run/token" in json.dumps(service)
    assert not any(cluster["name"] == "xds-grpc" for cluster in document["staticResources"]["clusters"])


def test_a_unix_socket_and_state_of_the_world() -> None:
    document = printed("--xds", "unix:///run/xds.sock", "--sotw")
    assert xds_endpoint(document) == {"pipe": {"path": "/run/xds.sock"}}
    assert document["dynamicResources"]["adsConfig"]["apiType"] == "GRPC"


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        (["--interception-mode", "NONE"], "10.1.0.1"),
        (["--interception-mode", "NONE", "--bind", "127.10.0.9"], "127.10.0.9"),
        (["--bind", "127.10.0.9"], "127.10.0.9"),
        ([], "127.0.0.1"),
    ],
)
def test_a_proxy_without_capture_has_its_own_address(arguments: list[str], address: str) -> None:
    assert printed("--xds", "127.0.0.1:15010", *arguments)["admin"]["address"]["socketAddress"]["address"] == address


@pytest.mark.envoy
def test_envoy_takes_the_file_that_the_command_line_names(tmp_path: Path) -> None:
    file = tmp_path / "with space.json"
    result = run("bootstrap", "--proxy", SIDECAR, "--xds", "127.0.0.1:1", "-o", file, "--argv", "--drain-seconds", "7")
    assert result.exit_code == 0
    command = shlex.split(result.stdout)
    assert str(file) in command
    assert command[command.index("--drain-time-s") + 1] == "7"
    assert "--disable-hot-restart" in command
    done = subprocess.run([*command, "--mode", "validate"], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--xds", "nonsense"], "'nonsense' is not host:port"),
        (["--xds", "127.0.0.1:1", "--label", "nonsense"], "'nonsense' is not KEY=VALUE"),
        (["--argv"], "--argv needs --output"),
        ([], "--token-file"),
        (["--token-file", "/t"], "need --output FILE"),
        (["--xds", "unix:///run/xds.sock", "--token-file", "/t", "--google-grpc"], "over TCP"),
        (["--xds", "127.0.0.1:1", "--admin-port", "15021"], "addresses of their own"),
        (["--admin-port", "0"], "greater than or equal to 1"),
        (["--interception-mode", "MAGIC"], "MAGIC"),
    ],
)
def test_wrong_usage(arguments: list[str], complaint: str) -> None:
    result = run("bootstrap", "--proxy", SIDECAR, *arguments)
    assert result.exit_code == 2
    assert complaint in result.output


def test_a_file_that_cannot_be_written_is_1(tmp_path: Path) -> None:
    result = run("bootstrap", "--proxy", SIDECAR, "--xds", "127.0.0.1:1", "-o", tmp_path / "missing" / "e.json")
    assert result.exit_code == 1
    assert "cannot write" in result.output


def test_a_folder_of_keys_is_told_to_the_control_plane(tmp_path: Path) -> None:
    assert "DRAGOMAN_KEY_FOLDER" not in printed("--xds", "127.0.0.1:15999")["node"]["metadata"]
    document = printed("--xds", "127.0.0.1:15999", "--key-folder", str(tmp_path / "keys"))
    assert document["node"]["metadata"]["DRAGOMAN_KEY_FOLDER"] == str(tmp_path / "keys")
