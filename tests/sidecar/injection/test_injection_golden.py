"""Whole pods: tests/golden/injection/<case>/pod.yaml in, patched.yaml and bootstrap.yaml out.

`settings.yaml`, where there is one, is the injector's ConfigMap (`config`, `values`), MeshConfig (`mesh`), and
ProxyConfigs. `UPDATE_GOLDEN=1` rewrites what comes out. Every bootstrap is judged by a real Envoy, as the kubelet would
start it.
"""

import asyncio
import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from injected_proxy import SHOP, bootstrap, command, container, credentials
from json_patch import patched

from crds import meshconfig
from crds.decode import decode
from crds.proxyconfig import ProxyConfig
from dragoman.mesh.captured_by import CAPTURED_BY
from dragoman.sidecar.injection import Injected, InjectionSettings, inject
from dragoman.sidecar.injection.config_map import settings_of

GOLDEN = Path(__file__).parents[2] / "golden" / "injection"
CASES = sorted(path.name for path in GOLDEN.iterdir())
_UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"
_BOOTSTRAP = "see bootstrap.yaml"


def settings(case: str) -> InjectionSettings:
    file = GOLDEN / case / "settings.yaml"
    written = yaml.safe_load(file.read_text()) if file.exists() else {}
    data = {key: json.dumps(written[key]) for key in ("config", "values") if key in written}
    mesh = meshconfig.parse(json.dumps(written.get("mesh") or {}))
    configs = tuple(decode(document) for document in written.get("proxyConfigs") or ())
    assert all(isinstance(each, ProxyConfig) for each in configs)
    return settings_of(data, drain_secret=b"golden", mesh=mesh, proxy_configs=configs)  # type: ignore[arg-type]


def injected(case: str) -> tuple[dict[str, Any], Injected]:
    pod = yaml.safe_load((GOLDEN / case / "pod.yaml").read_text())
    made = inject(pod, namespace=SHOP, settings=settings(case))
    assert isinstance(made, Injected), made
    return pod, made


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def dumped(document: Any) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=2**20)


@pytest.mark.parametrize("case", CASES)
def test_the_pod_is_as_it_was_looked_at(case: str) -> None:
    pod, made = injected(case)
    shown = copy.deepcopy(made.pod)
    for each in (*shown["spec"]["containers"], *shown["spec"].get("initContainers", ())):
        if "--config-yaml" in each.get("args", ()):
            each["args"][each["args"].index("--config-yaml") + 1] = _BOOTSTRAP
    warnings = [str(warning) for warning in made.warnings]
    for name, content in (
        ("patched.yaml", shown),
        ("bootstrap.yaml", bootstrap(made.pod)),
        ("warnings.yaml", warnings),
    ):
        file = GOLDEN / case / name
        if not content:
            assert not file.exists()
            continue
        if _UPDATE:
            file.write_text(dumped(content))
        assert file.read_text() == dumped(content), f"UPDATE_GOLDEN=1 rewrites {file}"
    assert patched(pod, made.patch) == made.pod


@pytest.mark.parametrize("case", CASES)
def test_again_changes_nothing(case: str) -> None:
    _, made = injected(case)
    again = inject(made.pod, namespace=SHOP, settings=settings(case))
    assert isinstance(again, Injected)
    assert again.patch == []
    assert again.warnings == made.warnings


@pytest.mark.envoy
@pytest.mark.parametrize("case", CASES)
async def test_envoy_takes_the_bootstrap(case: str, tmp_path: Path) -> None:
    _, made = injected(case)
    credentials(tmp_path, "localhost")
    (tmp_path / "custom").mkdir()
    (tmp_path / "custom" / "custom_bootstrap.json").write_text('{"flags_path": "/nowhere"}')
    for address in ("10.1.2.3", "fd00::3"):
        line = command(made.pod, address=address, loopback="127.0.0.1", directory=tmp_path)
        line += ["--mode", "validate"]
        assert max(len(argument) for argument in line) < 128 * 1024  # Linux: MAX_ARG_STRLEN
        process = await asyncio.create_subprocess_exec(
            *line, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        assert b"OK" in output
        assert b"deprecated" not in errors.lower()


@pytest.mark.parametrize("case", CASES)
def test_nothing_else_is_in_the_sidecar(case: str) -> None:
    """Upstream's image as it is, with no more rights than the level "restricted" of pod security, or TPROXY, has."""
    _, made = injected(case)
    proxy = container(made.pod)
    assert proxy["command"] == ["/usr/local/bin/envoy"]
    if case != "proxy-of-the-author":
        context = proxy["securityContext"]
        transparent = "TPROXY" in made.pod["metadata"]["annotations"].get(CAPTURED_BY, "")
        assert transparent is (case in ("proxy-configs", "transparent"))
        assert context["capabilities"] == {"drop": ["ALL"]} | ({"add": ["NET_ADMIN"]} if transparent else {})
        assert (context["runAsNonRoot"], context["allowPrivilegeEscalation"]) == (not transparent, False)
        # By its group the rules of capture know it, and as root it must not be whom they send back to itself.
        assert (context["runAsUser"], context["runAsGroup"]) == (0 if transparent else 1337, 1337)
        assert context["readOnlyRootFilesystem"] is True


def test_a_gateway_needs_no_more_rights_where_sidecars_are_transparent() -> None:
    pod = yaml.safe_load((GOLDEN / "gateway" / "pod.yaml").read_text())
    made = inject(pod, namespace=SHOP, settings=settings("transparent"))
    assert isinstance(made, Injected)
    assert container(made.pod)["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert CAPTURED_BY not in made.pod["metadata"]["annotations"]
