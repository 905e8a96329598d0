"""What `dragoman validate` finds."""

from pathlib import Path

import pytest

from dragoman.sources.validation import check, has_errors
from tests.sources.objects import entry, invalid, join


def test_files_and_folders_are_judged_together(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.yaml").write_text(join(entry("a"), invalid("b"), "kind: [\n"))
    (folder / "b.yaml").write_text(
        join(entry("a"), "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n", entry("c"))
    )
    named = tmp_path / "any.txt"
    named.write_text("apiVersion: networking.istio.io/v1\nkind: VirtualServise\nmetadata: {name: v}\n")
    reports = check([folder, named, folder / "a.yaml"])
    assert [(Path(report.file).name, report.line, report.problem.code) for report in reports] == [
        ("any.txt", 2, "DRG0104"),
        ("a.yaml", 12, "DRG0101"),
        ("a.yaml", 14, "DRG0001"),
        ("b.yaml", 1, "DRG0005"),
        ("b.yaml", 7, "DRG0003"),
    ]
    assert has_errors(reports)
    assert not has_errors([report for report in reports if report.problem.severity != "error"])


def test_nothing_to_say_about_valid_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(entry("a"))
    assert check([tmp_path]) == []


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        check([tmp_path / "missing.yaml"])


MESH = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    extensionProviders:
    - {name: guard, envoyExtAuthzHttp: {service: guard.elsewhere.svc.cluster.local, port: 80}}
    - {name: logs}
"""
ASKING = """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: shop}}
spec: {{selector: {{matchLabels: {{app: {app}}}}}, action: CUSTOM, provider: {{name: {provider}}}, rules: [{{}}]}}
"""


def test_authorizers_that_the_mesh_settings_among_the_files_lack(tmp_path: Path) -> None:
    asking = (ASKING.format(name=name, app=name, provider=name) for name in ("guard", "gaurd", "logs"))
    policies = tmp_path / "policies.yaml"
    policies.write_text(join(*asking))
    assert check([tmp_path]) == []
    mesh = tmp_path / "mesh.yaml"
    mesh.write_text(MESH)
    found = [(report.key.name, report.line, report.problem.code) for report in check([tmp_path]) if report.key]
    assert found == [("gaurd", 6, "DRG0413"), ("logs", 11, "DRG0413")]
    mesh.write_text(MESH + "    trustDomain: [\n")
    assert "DRG0413" not in [report.problem.code for report in check([tmp_path])]


def test_policies_that_ask_several_authorizers_for_one_workload(tmp_path: Path) -> None:
    """Without the settings, too: it is for the policies to decide."""
    both = [ASKING.format(name=name, app="web", provider=name) for name in ("guard", "other")]
    (tmp_path / "policies.yaml").write_text(join(*both))
    reports = check([tmp_path])
    assert [(report.key.name, report.problem.code) for report in reports if report.key] == [
        ("guard", "DRG0414"),
        ("other", "DRG0414"),
    ]
    assert "AuthorizationPolicy shop/other names 'other'" in reports[0].problem.message
