"""Every command explains itself, and says by its exit code what came of it."""

from pathlib import Path

import pytest

from tests.cli.cli_runs import run

COMMANDS = [
    "install",
    "uninstall",
    "precheck",
    "serve",
    "demo",
    "translate",
    "validate",
    "bootstrap",
    "token",
    "agent",
    "capture",
    "cni-agent",
    "kube-inject",
    "proxy-status",
    "proxy-config",
    "describe",
    "authz",
    "dashboard",
    "bug-report",
    "xds",
    "ca",
    "crds",
    "wait",
    "version",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_its_exit_codes(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Usage: dragoman {command}" in result.output
    assert "xit codes" in result.output or command == "demo"


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "demo"])
def test_help_has_an_example_that_names_the_command(command: str) -> None:
    assert f"\n    dragoman {command}" in run(command, "--help").output


@pytest.mark.parametrize(
    ("group", "command"),
    [
        *(
            ("proxy-config", each)
            for each in ("clusters", "listeners", "routes", "endpoints", "secrets", "bootstrap", "all")
        ),
        *(("describe", each) for each in ("pod", "service")),
        ("authz", "check"),
        *(("dashboard", each) for each in ("control-plane", "envoy", "grafana", "zipkin")),
    ],
)
def test_so_do_commands_of_groups(group: str, command: str) -> None:
    result = run(group, command, "--help")
    assert result.exit_code == 0
    assert f"Usage: dragoman {group} {command}" in result.output
    assert f"\n    dragoman {group} {command}" in result.output
    assert "Exit codes" in result.output


def test_the_list_of_commands_is_complete() -> None:
    result = run("--help")
    assert result.exit_code == 0
    listed = result.output.split("Commands:")[1].splitlines()
    assert [line.split()[0] for line in listed if line[:2] == "  " and line[2] != " "] == COMMANDS
    assert all(line.endswith(".") and not line.endswith("...") and len(line) <= 80 for line in listed if line)


@pytest.mark.parametrize(("short", "long"), [("ps", "proxy-status"), ("pc", "proxy-config")])
def test_istioctls_short_forms(short: str, long: str) -> None:
    usage, rest = run(short, "--help").output.split("\n", 1)
    assert usage.startswith(f"Usage: dragoman {short}")
    assert rest == run(long, "--help").output.split("\n", 1)[1]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "Usage"),
        (["nonsense"], "No such command 'nonsense'"),
        (["serve"], "say either --config FOLDER or --kubernetes"),
        (["serve", "--config", "/nowhere"], "does not exist"),
        (["serve", "--config", "/", "--xds-address", "nonsense"], "is not HOST:PORT"),
        (["serve", "--config", "/", "--xds-address", "127.0.0.1:99999"], "is not HOST:PORT"),
        (["serve", "--config", "/", "--xds-address", "::1:15010"], "[::1]:15010"),
        (["serve", "--config", "/", "--xds-address", "unix:relative"], "must be absolute"),
        (["serve", "--config", "/", "--xds-address", "0.0.0.0:15010"], "--insecure-xds"),
        (["serve", "--config", "/", "--xds-address", "example.com:15010"], "--insecure-xds"),
        (["serve", "--config", "/", "--log-level", "loud"], "loud"),
        (["translate", "--config", "/nowhere", "--proxy", "x"], "does not exist"),
        (["validate"], "Missing argument"),
        (["validate", "/nowhere.yaml"], "does not exist"),
        (["bootstrap", "--proxy", "x"], "x"),
        (["bootstrap"], "Missing option '--proxy'"),
        (["proxy-config", "nonsense", "x"], "nonsense"),
        (["proxy-config", "clusters"], "say which proxy"),
        (["proxy-status", "--http-address", "x"], "is not HOST:PORT"),
    ],
)
def test_wrong_usage_is_2(arguments: list[str], complaint: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert complaint in result.output


def test_version_as_text_and_json() -> None:
    assert run("version").stdout.startswith("dragoman ")
    assert run("version", "-o", "json").stdout.startswith('{\n  "dragoman":')
    assert run("version", "--no-remote").output.count("\n") == 1


def test_no_control_plane_is_no_error_to_version() -> None:
    result = run("version", "--http-address", "127.0.0.1:1")
    assert result.exit_code == 0
    assert "no control plane: no answer from the debug pages at 127.0.0.1:1" in result.stderr


def test_no_control_plane_is_1() -> None:
    for command in (["proxy-status"], ["proxy-config", "clusters", "x"]):
        result = run(*command, "--http-address", "127.0.0.1:1")
        assert result.exit_code == 1
        assert "no answer from the debug pages at 127.0.0.1:1" in result.output


def test_a_broken_object_makes_validate_1(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hots: [a]\n"
    )
    result = run("validate", file)
    assert result.exit_code == 1
    assert f"error: {file}:5: DRG0101 VirtualService default/a: spec.hots: " in result.output
    assert result.output.endswith("1 error, 0 warnings\n")
    as_json = run("validate", tmp_path, "-o", "json")
    assert as_json.exit_code == 1
    assert '"code": "DRG0101"' in as_json.output
    file.write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n")
    assert run("validate", file).exit_code == 0
