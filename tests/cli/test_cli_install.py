"""install, uninstall and precheck as commands: what they print, what they ask, how they end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cli.cli_runs import run
from tests.support.api_server import LocalApiServer, require_api_server

KINDS = {"Namespace", "CustomResourceDefinition", "Deployment", "MutatingWebhookConfiguration"}
QUICK = ("--no-wait", "--set", "base.enableCRDs=false")


def test_a_dry_run_prints_every_manifest() -> None:
    result = run("install", "--dry-run", "--set", "global.hub=registry.example.com/mesh", "--revision", "canary")
    assert result.exit_code == 0
    documents = list(yaml.load_all(result.stdout, Loader=yaml.CSafeLoader))
    kinds = [each["kind"] for each in documents]
    assert set(kinds) >= KINDS
    assert kinds[0] == "Namespace"
    assert kinds.count("CustomResourceDefinition") == 15
    deployment = documents[kinds.index("Deployment")]
    assert deployment["metadata"]["name"] == "istiod-canary"
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.com/mesh/dragoman:0.1.0"


def test_later_values_win_over_earlier_ones(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("pilot: {autoscaleEnabled: false, replicaCount: 3, env: {A: a, B: b}}")
    second.write_text("pilot: {replicaCount: 4, env: {A: null}}")
    files = ("-f", str(first), "-f", str(second))
    result = run("install", "--dry-run", *files, "--set", "pilot.image=own", "--set-string", "pilot.env.C=1")
    documents = yaml.load_all(result.stdout, Loader=yaml.CSafeLoader)
    spec = next(each["spec"] for each in documents if each["kind"] == "Deployment")
    assert spec["replicas"] == 4
    (container,) = spec["template"]["spec"]["containers"]
    assert container["image"] == "own:0.1.0"
    assert {each["name"] for each in container["env"]} >= {"B", "C"}
    assert "A" not in {each["name"] for each in container["env"]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "pilot.replicas=3"), "pilot: Additional properties are not allowed ('replicas' was unexpected)"),
        (("--set", "pilot.replicaCount=three"), "pilot.replicaCount: 'three' is not of type 'integer'"),
        (("--set", "pilot"), "'pilot' is not KEY=VALUE"),
        (("-f", "/nowhere.yaml"), "does not exist"),
        (("--timeout", "soon"), "soon"),
    ],
)
def test_wrong_values_are_wrong_usage(arguments: tuple[str, ...], said: str) -> None:
    result = run("install", "--dry-run", *arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())


def test_a_file_that_is_no_map_of_values_is_wrong_usage(tmp_path: Path) -> None:
    for text, said in (("[1]", "a map of values is expected"), ("a: [", "values.yaml")):
        (tmp_path / "values.yaml").write_text(text)
        result = run("precheck", "-f", str(tmp_path / "values.yaml"))
        assert result.exit_code == 2
        assert said in result.output


def test_a_cluster_that_does_not_answer_is_said(tmp_path: Path) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {}}],
    }
    (tmp_path / "config").write_text(json.dumps(config))
    for command in ("install", "uninstall", "precheck"):
        result = run(command, "--kubeconfig", str(tmp_path / "config"))
        assert result.exit_code == 1
        assert "https://127.0.0.1:1" in result.output
        result = run(command, "--kubeconfig", str(tmp_path / "config"), "--context", "other")
        assert result.exit_code == 1
        assert "other" in result.output


def test_uninstall_takes_one_revision_or_all() -> None:
    result = run("uninstall", "--purge", "--revision", "canary")
    assert result.exit_code == 2
    assert "say either" in result.output


@pytest.fixture(scope="module")
def at() -> Iterator[tuple[str, str]]:
    """The options that name a cluster of this file's own."""
    require_api_server()
    with LocalApiServer.running(controllers=False) as server:
        yield "--kubeconfig", str(server.kubeconfig)


@pytest.mark.real_api
def test_from_precheck_to_uninstall(at: tuple[str, str]) -> None:
    result = run("uninstall", "-y", *at)
    assert (result.exit_code, "nothing in istio-system was installed" in result.output) == (1, True)

    result = run("precheck", "-o", "json", *at)
    assert result.exit_code == 0, result.output
    assert {each["level"] for each in json.loads(result.stdout)} == {"ok"}

    result = run("install", *QUICK, *at)
    assert result.exit_code == 0, result.output
    assert "kubectl label namespace NAME istio-injection=enabled" in result.output
    result = run("install", *QUICK, "--revision", "canary", *at)
    assert result.exit_code == 0, result.output
    assert "kubectl label namespace NAME istio.io/rev=canary" in result.output

    # It would inject the same pods as the first.
    result = run("install", *QUICK, "--revision", "other", "--set", "revisionTags={default}", *at)
    assert result.exit_code == 1
    assert "injects the same namespaces or pods" in result.output
    assert "nothing was installed" in result.output
    result = run("precheck", "--revision", "other", "--set", "revisionTags={default}", *at)
    assert result.exit_code == 1

    result = run("uninstall", "-y", *at)
    assert result.exit_code == 2
    assert "there are several revisions, canary, default" in result.output
    result = run("uninstall", "--revision", "nonsense", "-y", *at)
    assert (result.exit_code, "there is canary, default" in result.output) == (1, True)
    result = run("uninstall", "--revision", "canary", *at)
    assert (result.exit_code, "gone" in result.output) == (1, False)  # nobody says yes
    # Without controllers no namespace ends.
    result = run("uninstall", "--purge", "-y", "--timeout", "1s", *at)
    assert result.exit_code == 0, result.output
    assert "Namespace istio-system is still being deleted" in result.output
    assert "CustomResourceDefinitions and the objects of their kinds stay" in result.output


@pytest.mark.real_api
def test_what_is_not_ready_in_time_is_not_installed(at: tuple[str, str]) -> None:
    # Without controllers nobody makes pods.
    result = run("install", "-i", "other", "--timeout", "1s", "--set", "base.enableCRDs=false", *at)
    assert result.exit_code == 1
    assert "not ready in time: Deployment other/istiod" in result.output
    result = run("uninstall", "-i", "other", "-y", "--timeout", "1s", *at)
    assert result.exit_code == 0, result.output
    result = run("install", "-i", "other", *QUICK, *at)
    assert result.exit_code == 1
    assert "namespace other is being deleted: try again when it is gone" in result.output
