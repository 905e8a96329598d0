"""MeshConfig.caCertificates: roots beside the CA's own."""

import json
from datetime import UTC, datetime
from pathlib import Path

from ca.authority import Authority, new_root, pem
from tests.debug.running_plane import MESH, running_plane, until

SETTINGS = """
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: |
    trustDomain: new.example
    trustDomainAliases: [old.example]
    caCertificates: {certificates}
"""


def certificates(*entries: dict[str, object]) -> str:
    return SETTINGS.format(certificates=json.dumps(entries))


def text(authority: Authority) -> str:
    return pem(authority.roots).decode()


async def test_roots_of_the_settings_are_trusted_and_go_with_them(tmp_path: Path) -> None:
    old, foreign, signers = (new_root(name, now=datetime.now(UTC)) for name in ("old", "foreign", "signers"))
    entries = (
        {"pem": text(old), "trustDomains": ["old.example"]},
        {"pem": text(foreign), "trustDomains": ["elsewhere.example"]},
        {"pem": text(signers), "certSigners": ["signers.example/a"]},
        {"pem": "nonsense"},
    )
    async with running_plane(tmp_path, MESH + certificates(*entries)) as running:
        own = running.plane.authority.roots
        assert running.plane.identities.roots == (*own, old.certificate), "others could sign in the name of ours"
        (tmp_path / "mesh.yaml").write_text(MESH + certificates())

        async def gone() -> bool:
            return running.plane.identities.roots == own

        await until(gone)
