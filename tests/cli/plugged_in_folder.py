"""A CA of the operator's own, as Istio's Secret `cacerts` lays it out."""

from pathlib import Path

from ca.authority import Authority, key_pem, pem


def put(folder: Path, authority: Authority) -> Path:
    """Write an authority into a folder, which is made if need be."""
    folder.mkdir(exist_ok=True)
    (folder / "ca-cert.pem").write_bytes(pem([authority.certificate]))
    (folder / "ca-key.pem").write_bytes(key_pem(authority.key))
    (folder / "root-cert.pem").write_bytes(pem(authority.roots))
    return folder
