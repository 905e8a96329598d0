"""The trust bundle on the debug endpoint."""

import base64
from pathlib import Path

from cryptography import x509

from tests.debug.running_plane import running_plane


async def test_the_roots_are_given_as_pem(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as running:
        status, text, response = await running.get("/debug/rootz")
        assert (status, response.content_type) == (200, "application/x-pem-file")
        assert tuple(x509.load_pem_x509_certificates(text.encode())) == running.plane.identities.roots


async def test_the_spiffe_bundle_holds_each_root_and_its_key(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as running:
        bundle = await running.ask("/.well-known/spiffe-bundle")
        (root,) = running.plane.identities.roots
    (key,) = bundle["keys"]
    assert (key["use"], key["kty"], key["crv"]) == ("x509-svid", "EC", "P-256")
    assert x509.load_der_x509_certificate(base64.b64decode(key["x5c"][0])) == root
    point = root.public_key().public_numbers()
    assert int.from_bytes(base64.urlsafe_b64decode(key["x"] + "=")) == point.x
    assert int.from_bytes(base64.urlsafe_b64decode(key["y"] + "=")) == point.y
