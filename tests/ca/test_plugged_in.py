"""The operator's own CA, in a folder that changes under us."""

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from ca.authority import Authority, key_pem, new_root, pem
from ca.authority_files import RootStoreError
from ca.plugged_in import PluggedIn
from tests.ca.conftest import NOW, issue_intermediate
from tests.support.revocations import revocations


def cacerts(authority: Authority) -> dict[str, bytes]:
    return {
        "ca-cert.pem": pem([authority.certificate]),
        "ca-key.pem": key_pem(authority.key),
        "cert-chain.pem": pem([*authority.intermediates, *authority.roots]),
        "root-cert.pem": pem(authority.roots),
    }


def put(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def mount(folder: Path, name: str, files: dict[str, bytes]) -> None:
    """As the kubelet does: a folder of its own, and one symbolic link that is swapped (Kubernetes: AtomicWriter)."""
    put(folder / name, files)
    (folder / "..data_tmp").symlink_to(name)
    os.rename(folder / "..data_tmp", folder / "..data")
    for file in files:
        if not (folder / file).is_symlink():
            (folder / file).symlink_to(f"..data/{file}")


def test_a_secret_that_is_swapped_is_taken(tmp_path, root):
    one, two = (issue_intermediate(root, name) for name in ("one", "two"))
    mount(tmp_path, "..1", cacerts(one))
    folder = PluggedIn(tmp_path)
    assert folder.read().authority == one
    assert folder.changed() is None
    mount(tmp_path, "..2", cacerts(two))
    given = folder.changed()
    assert given is not None
    assert given.authority == two
    assert folder.changed() is None


def test_the_layout_of_cert_manager_is_read(tmp_path, root):
    issuing = issue_intermediate(root, "one")
    put(
        tmp_path,
        {
            "tls.crt": pem(issuing.intermediates),
            "tls.key": key_pem(issuing.key),
            "ca.crt": pem(root.roots),
        },
    )
    assert PluggedIn(tmp_path).read().authority == issuing


def test_files_that_are_copied_one_after_the_other_are_no_error_in_between(tmp_path, root):
    other = new_root("cluster.local", now=NOW)
    put(tmp_path, cacerts(root))
    folder = PluggedIn(tmp_path)
    folder.read()
    for name, content in cacerts(other).items():
        (tmp_path / name).write_bytes(content)
        if name != "root-cert.pem":
            assert folder.changed() is None
    given = folder.changed()
    assert given is not None
    assert given.authority == other


def test_what_stays_broken_is_told_once(tmp_path, root):
    other = new_root("cluster.local", now=NOW)
    put(tmp_path, cacerts(root))
    folder = PluggedIn(tmp_path)
    folder.read()
    (tmp_path / "ca-key.pem").write_bytes(key_pem(other.key))
    assert folder.changed() is None, "it may be half copied"
    with pytest.raises(RootStoreError, match="does not belong") as error:
        folder.changed()
    assert "PRIVATE" not in str(error.value)
    assert folder.changed() is None
    (tmp_path / "ca-key.pem").write_bytes(key_pem(root.key))
    given = folder.changed()
    assert given is not None
    assert given.authority == root


def test_an_rsa_ca_signs(tmp_path, now):
    authority = new_root("cluster.local", now=now, key=rsa.generate_private_key(65537, 2048))
    put(tmp_path, cacerts(authority))
    loaded = PluggedIn(tmp_path).read().authority
    leaf = loaded.sign(rsa.generate_private_key(65537, 2048).public_key(), dns_names=("a.example",), now=now)
    leaf.verify_directly_issued_by(authority.certificate)


def test_revocation_lists_come_along(tmp_path, root):
    lists = (revocations(root), revocations(new_root("other", now=NOW)))
    crl = b"".join(each.public_bytes(Encoding.PEM) for each in lists)
    put(tmp_path, {**cacerts(root), "ca-crl.pem": crl})
    folder = PluggedIn(tmp_path)
    assert folder.read().revoked == lists
    (tmp_path / "ca-crl.pem").write_text("nonsense")
    assert folder.changed() is None
    with pytest.raises(RootStoreError, match=r"ca-crl\.pem holds no PEM revocation list"):
        folder.changed()
    (tmp_path / "ca-crl.pem").unlink()
    given = folder.changed()
    assert given is not None
    assert given.revoked == ()
