"""The mesh's settings are checked where they are written, and broken ones leave the last good."""

from pathlib import Path

import pytest

from dragoman.sources.files import FileSource
from tests.sources.objects import codes

HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata:\n  mesh: |\n"


def written(path: Path, *lines: str, head: str = HEAD) -> Path:
    path.joinpath("mesh.yaml").write_text(head + "".join(f"    {line}\n" for line in lines))
    return path


def test_an_unknown_setting_is_a_warning_at_its_own_line(tmp_path: Path) -> None:
    batch = FileSource(written(tmp_path, "trustDomain: a.b", "defaultConfig:", "  interceptionMod: NONE")).load()
    assert [(report.line, report.problem.path) for report in batch.reports] == [
        (8, "data.mesh.defaultConfig.interceptionMod")
    ]
    assert codes(batch) == ["DRG0203"]
    assert len(batch.changes) == 1


@pytest.mark.parametrize(
    ("lines", "line", "path"),
    [
        (("rootNamespace: x", "enableAutoMtls: [1]"), 7, "data.mesh.enableAutoMtls"),
        (("trustDomain: [",), 5, "data.mesh"),
    ],
)
def test_broken_settings_are_an_error_and_leave_the_last_good(
    tmp_path: Path, lines: tuple[str, ...], line: int, path: str
) -> None:
    batch = FileSource(written(tmp_path, *lines)).load()
    assert [(report.line, report.problem.path, report.problem.severity) for report in batch.reports] == [
        (line, path, "error")
    ]
    assert batch.changes == ()


def test_other_config_maps_are_no_settings(tmp_path: Path) -> None:
    head = HEAD.replace("istio-system", "shop")
    assert FileSource(written(tmp_path, "nonsense: [", head=head)).load().reports == ()


def test_what_only_a_cluster_has_a_use_for_is_said(tmp_path: Path) -> None:
    (report,) = FileSource(written(tmp_path, "discoverySelectors: [{matchLabels: {a: b}}]")).load().reports
    assert (report.problem.code, report.problem.path) == ("DRG0010", "data.mesh.discoverySelectors")
