"""MeshConfig.caCertificates: roots beside the CA's own."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import SpiffeCertValidatorConfig

from ca.authority import Authority, new_root, pem
from ca.secrets import root_secret
from dragoman.codec import SECRET, Encoded, decode
from tests.debug.running_plane import MESH, running_plane
from tests.support.until import until

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
    names = ("further", "both", "old", "foreign", "signers")
    further, both, old, foreign, signers = (new_root(name, now=datetime.now(UTC)) for name in names)
    entries = (
        {"pem": text(further)},
        {"pem": text(both), "trustDomains": ["old.example", "new.example", "elsewhere.example"]},
        {"pem": text(old), "trustDomains": ["old.example"]},
        {"pem": text(foreign), "trustDomains": ["elsewhere.example"]},
        {"pem": text(signers), "certSigners": ["signers.example/a"]},
        {"pem": text(foreign), "trustDomains": ["spiffe://new.example"]},
        {"pem": "nonsense"},
    )
    async with running_plane(tmp_path, MESH + certificates(*entries)) as running:
        identities = running.plane.identities
        own = running.plane.authority.roots
        all_of_ours = (*own, further.certificate, both.certificate)
        assert identities.roots == all_of_ours, "others could sign in the name of ours"
        assert verified_with(identities.distributed) == {
            "new.example": all_of_ours,
            "old.example": (*all_of_ours, old.certificate),
            "elsewhere.example": (both.certificate, foreign.certificate),
        }
        (tmp_path / "mesh.yaml").write_text(MESH + certificates({"pem": text(further)}))

        async def gone() -> bool:
            return identities.distributed == root_secret(pem((*own, further.certificate)))

        await until(gone)


def verified_with(secret: Encoded) -> dict[str, tuple[x509.Certificate, ...]]:
    """The roots by trust domain in a secret."""
    validation: Any = decode(SECRET, secret.payload).validation_context  # type: ignore[attr-defined]
    if validation.HasField("trusted_ca"):
        return {}
    config: Any = decode(SpiffeCertValidatorConfig, validation.custom_validator_config.typed_config.value)
    return {
        each.name: tuple(x509.load_pem_x509_certificates(each.trust_bundle.inline_bytes))
        for each in config.trust_domains
    }
