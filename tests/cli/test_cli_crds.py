"""`dragoman crds`."""

import json

import yaml

from crds.manifests import admission_policies, definition, definitions
from crds.virtualservice import VirtualService
from tests.cli.cli_runs import run


def test_all_as_yaml() -> None:
    result = run("crds")
    assert result.exit_code == 0
    assert list(yaml.load_all(result.stdout, yaml.CSafeLoader)) == definitions()


def test_yaml_is_written_out_without_anchors() -> None:
    assert "&id" not in run("crds", "--kind", "Sidecar").stdout


def test_all_as_a_list_in_json() -> None:
    document = json.loads(run("crds", "-o", "json").stdout)
    assert (document["kind"], document["items"]) == ("List", definitions())


def test_one_kind() -> None:
    for name in ("VirtualService", "virtualservice", "virtualservices"):
        assert json.loads(run("crds", "-k", name, "-o", "json").stdout) == definition(VirtualService)


def test_an_unknown_kind_is_wrong_usage_and_guessed() -> None:
    result = run("crds", "--kind", "VirtualServise")
    assert result.exit_code == 2
    assert "did you mean VirtualService?" in " ".join(result.stderr.replace("│", " ").split())


def test_policies() -> None:
    assert list(yaml.load_all(run("crds", "--policies").stdout, yaml.CSafeLoader)) == admission_policies()
    canary = run("crds", "--policies", "--revision", "canary", "--revision", "next", "--root-namespace", "mesh").stdout
    assert list(yaml.load_all(canary, yaml.CSafeLoader)) == admission_policies(
        revisions=("canary", "next"), unlabelled=False, root_namespace="mesh"
    )
    assert run("crds", "--policies", "--kind", "Sidecar").exit_code == 2
