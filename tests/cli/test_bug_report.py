"""`bug-report` of a control plane on this machine."""

import tarfile
from pathlib import Path

import yaml

from tests.cli.test_cli_proxies import asked
from tests.debug.debug_proxy import proxy_at
from tests.debug.running_plane import CART, MESH, WEB, running_plane
from tests.support.until import until

SECRET_WORD = "hunter2-hunter2"  # noqa: S105
RULES = f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: cart, namespace: shop}}
spec:
  hosts: [cart]
  http:
    - headers: {{request: {{set: {{authorization: {SECRET_WORD}}}}}}}
      route: [{{destination: {{host: web}}}}]
"""


def unpacked(archive: Path) -> dict[str, str]:
    with tarfile.open(archive) as tar:
        return {
            member.name.partition("/")[2]: file.read().decode()
            for member in tar.getmembers()
            if (file := tar.extractfile(member)) is not None
        }


async def test_pages_and_proxies_are_packed_for_the_owner_only_and_without_secrets(tmp_path: Path) -> None:
    folder = tmp_path / "mesh"
    folder.mkdir()
    archive = tmp_path / "report.tar.gz"
    archive.touch(mode=0o644)
    async with (
        running_plane(folder, MESH + RULES) as running,
        proxy_at(running.xds_port, WEB),
        proxy_at(running.xds_port, CART),
    ):
        await until(running.all_in_sync)
        result = await asked(running, "bug-report", "-f", str(archive), "--max-proxies", "1")
        keys = [
            identity.key_pem.decode()
            for session in running.plane.sessions
            if session.identity is not None
            for identity in [running.plane.identities.certificates.get(session.identity)]
        ]
    assert result.exit_code == 0, result.output
    assert "control plane: 127.0.0.1:" in result.stderr
    assert "the first 1 of 2 proxies" in result.stderr
    assert archive.stat().st_mode & 0o777 == 0o600
    files = unpacked(archive)
    plane = next(name for name in files if name.startswith("control-plane/")).split("/")[1]
    assert {"dragoman.txt", "problems.txt", f"control-plane/{plane}/metrics"} <= files.keys()
    assert {f"control-plane/{plane}/debug/{page}" for page in ("syncz", "nackz", "configz", "jwksz")} <= files.keys()
    assert {name for name in files if name.startswith("proxies/")} == {
        "proxies/cart-1.shop/debug/config_dump.json",
        "proxies/cart-1.shop/debug/describe.json",
    }
    assert [each["metadata"]["name"] for each in yaml.safe_load(files[f"control-plane/{plane}/debug/configz"])]
    everything = "\n".join(files.values())
    assert "authorization" in everything
    for secret in (SECRET_WORD, "PRIVATE KEY", *(key.splitlines()[1] for key in keys)):
        assert secret not in everything


async def test_a_proxy_that_is_named_and_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "mesh"
    folder.mkdir()
    async with running_plane(folder) as running, proxy_at(running.xds_port, WEB):
        await until(running.all_in_sync)
        archive = tmp_path / "report.tar.gz"
        await asked(running, "bug-report", "-f", str(archive), "--proxy", "web")
        unknown = await asked(running, "bug-report", "-f", str(archive), "--proxy", "nobody")
        nowhere = await asked(running, "bug-report", "-f", str(tmp_path / "no" / "report.tar.gz"))
    assert "proxies/web-1.shop/debug/config_dump.json" in unpacked(archive)
    assert unknown.exit_code == nowhere.exit_code == 1
    assert "no connected proxy 'nobody'" in unknown.stderr
    assert "cannot write" in nowhere.stderr
