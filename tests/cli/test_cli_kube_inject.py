"""`dragoman kube-inject`: documents in, documents out."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from dragoman.cli.main import app

POD = {"spec": {"containers": [{"name": "web", "image": "web:1"}]}, "metadata": {"labels": {"app": "web"}}}
META = {"name": "web", "namespace": "shop"}


def run(*arguments: str, stdin: str = "") -> Result:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["kube-inject", *arguments], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def injected(*documents: Any, arguments: tuple[str, ...] = ()) -> tuple[list[Any], str]:
    done = run("-f", "-", *arguments, stdin="---\n".join(yaml.safe_dump(document) for document in documents))
    assert done.exit_code == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout)), done.stderr


def of(kind: str, *path: str, api_version: str = "apps/v1") -> dict[str, Any]:
    """An object of a kind with its pod where the kind has it."""
    inner: Any = POD
    for key in reversed(path):
        inner = {key: inner}
    document = {"apiVersion": api_version, "kind": kind, "metadata": META}
    return {**document, **inner} if path else {**document, **POD, "metadata": {**META, **POD["metadata"]}}


TEMPLATE, NESTED = ("spec", "template"), ("spec", "jobTemplate", "spec", "template")
KINDS = [
    (of("Pod", api_version="v1"), ()),
    *((of(kind, *TEMPLATE), TEMPLATE) for kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")),
    (of("ReplicationController", *TEMPLATE, api_version="v1"), TEMPLATE),
    (of("Job", *TEMPLATE, api_version="batch/v1"), TEMPLATE),
    (of("CronJob", *NESTED, api_version="batch/v1"), NESTED),
]


def sidecar(document: Any, path: tuple[str, ...]) -> dict[str, Any]:
    for key in path:
        document = document[key]
    return next(each for each in document["spec"]["initContainers"] if each["name"] == "istio-proxy")


def test_every_kind_that_makes_pods_in_order_and_others_as_they_are() -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": META, "spec": {"ports": [{"port": 80}]}}
    documents = [service, *(document for document, _ in KINDS)]
    made, said = injected(*documents)
    assert [each["kind"] for each in made] == [each["kind"] for each in documents]
    assert made[0] == service
    assert said == ""
    for (document, path), changed in zip(KINDS, made[1:], strict=True):
        bootstrap = json.loads(sidecar(changed, path)["args"][1])
        kind, version = document["kind"].lower(), document["apiVersion"]
        owner = f"kubernetes://apis/{version}/namespaces/$(POD_NAMESPACE)/{kind}s/web"
        assert bootstrap["node"]["metadata"]["OWNER"] == owner
        assert bootstrap["node"]["metadata"]["WORKLOAD_NAME"] == "web"


def test_lists_and_what_was_printed_before(tmp_path: Path) -> None:
    file = tmp_path / "list.yaml"
    items = [document for document, _ in KINDS]
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": items}))
    first = run("-f", str(file))
    assert first.exit_code == 0
    (made,) = yaml.safe_load_all(first.stdout)
    assert all(sidecar(item, path) for item, (_, path) in zip(made["items"], KINDS, strict=True))
    again = tmp_path / "again.yaml"
    again.write_text(first.stdout)
    assert run("-f", str(again)).stdout == first.stdout
    assert "&id" not in first.stdout


def test_pods_that_get_none_are_named(tmp_path: Path) -> None:
    host = yaml.safe_load(yaml.safe_dump(of("Deployment", *TEMPLATE)))
    host["spec"]["template"]["spec"]["hostNetwork"] = True
    opted = yaml.safe_load(yaml.safe_dump(of("Pod", api_version="v1")))
    opted["metadata"]["labels"]["sidecar.istio.io/inject"] = "false"
    made, said = injected(host, opted)
    assert made == [host, opted]
    assert "-: Deployment shop/web: no sidecar: hostNetwork" in said
    assert "-: Pod shop/web: no sidecar: sidecar.istio.io/inject is false" in said


def test_errors_print_nothing_and_say_where() -> None:
    wrong = yaml.safe_load(yaml.safe_dump(of("CronJob", *NESTED, api_version="batch/v1")))
    wrong["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["annotations"] = {
        "sidecar.istio.io/proxyCPU": "much",
        "sidecar.istio.io/nativeSidecar": "maybe",
    }
    empty = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": META, "spec": {}}
    done = run("-f", "-", stdin=f"{yaml.safe_dump(wrong)}---\n{yaml.safe_dump(empty)}")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "CronJob shop/web: error DRG0601 metadata.annotations[sidecar.istio.io/proxyCPU]" in done.stderr
    assert "nativeSidecar" in done.stderr
    assert "Deployment shop/web: error DRG0605 spec.template.spec: there is no pod here" in done.stderr


def test_settings_of_the_mesh(tmp_path: Path) -> None:
    injector, mesh = tmp_path / "injector.yaml", tmp_path / "mesh.yaml"
    values = json.dumps({"global": {"proxy": {"image": "registry/envoy:v1.40.0"}}})
    injector.write_text(yaml.safe_dump({"kind": "ConfigMap", "data": {"values": values, "config": "policy: disabled"}}))
    mesh.write_text("defaultConfig: {discoveryAddress: 'istiod.mesh.svc:15012'}")
    labelled = yaml.safe_load(yaml.safe_dump(of("Pod", api_version="v1")))
    labelled["metadata"]["labels"]["sidecar.istio.io/inject"] = "true"
    arguments = ("--injector-config", str(injector), "--mesh-config", str(mesh), "--revision", "canary")
    made, said = injected(labelled, of("Deployment", *TEMPLATE), arguments=arguments)
    assert "Deployment shop/web: no sidecar: policy: disabled" in said
    proxy = sidecar(made[0], ())
    assert proxy["image"] == "registry/envoy:v1.40.0"
    assert "istiod.mesh.svc" in proxy["args"][1]
    assert made[0]["metadata"]["annotations"]["istio.io/rev"] == "canary"


def test_settings_may_be_as_short_as_they_are(tmp_path: Path) -> None:
    injector, mesh = tmp_path / "injector.yaml", tmp_path / "mesh.yaml"
    injector.write_text("{kind: ConfigMap, data: {}}")
    mesh.write_text("{kind: ConfigMap, data: {mesh: 'trustDomain: a.b'}}")
    made, _ = injected(
        of("Pod", api_version="v1"), arguments=("--injector-config", str(injector), "--mesh-config", str(mesh))
    )
    assert json.loads(sidecar(made[0], ())["args"][1])["node"]["metadata"]["MESH_ID"] == "a.b"
    mesh.write_text("accessLogFile: [1]")
    done = run("-f", "-", "--mesh-config", str(mesh))
    assert done.exit_code == 1
    assert "accessLogFile" in done.stderr


def test_no_two_runs_have_the_same_path_to_drain() -> None:
    paths = {
        sidecar(injected(of("Pod", api_version="v1"))[0][0], ())["lifecycle"]["preStop"]["httpGet"]["path"]
        for _ in "ab"
    }
    assert len(paths) == 2


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "words"),
    [
        (("-f", "/nowhere"), "", 1, "cannot read /nowhere"),
        (("-f", "-"), "a: [", 1, "no YAML"),
        ((), "", 2, "filename"),
        (("-f", "-", "--mesh-config", "/nowhere"), "", 2, "nowhere"),
    ],
)
def test_exit_codes(arguments: tuple[str, ...], stdin: str, code: int, words: str) -> None:
    done = run(*arguments, stdin=stdin)
    assert done.exit_code == code
    assert words in done.stderr


def test_the_output_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "out.yaml"
    done = run("-f", "-", "-o", str(file), stdin=yaml.safe_dump(of("Pod", api_version="v1")))
    assert (done.exit_code, done.stdout) == (0, "")
    assert sidecar(yaml.safe_load(file.read_text()), ())
