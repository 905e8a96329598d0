import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from ca.authority import Authority, new_root, pem
from ca.authority_files import RootStoreError
from ca.root_store import create, load, load_or_create


def key_pem(authority: Authority, encryption=NoEncryption()) -> bytes:  # noqa: B008
    return authority.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, encryption)


def write(directory: Path, **files: bytes) -> Path:
    """`ca_key` becomes `ca-key.pem`, `tls__key` becomes `tls.key`."""
    directory.mkdir(mode=0o700, exist_ok=True)
    for name, content in files.items():
        path = directory / (name.replace("__", ".") if "__" in name else name.replace("_", "-") + ".pem")
        path.write_bytes(content)
        path.chmod(0o600)
    return directory


def plugged_in(directory: Path, authority: Authority, **changes: bytes) -> Path:
    """A `cacerts` bundle as Istio's documentation makes it: the chain ends in the root."""
    files = {
        "ca_cert": pem([authority.certificate]),
        "ca_key": key_pem(authority),
        "cert_chain": pem([*authority.intermediates, *authority.roots]),
        "root_cert": pem(authority.roots),
    }
    return write(directory, **{**files, **changes})


def test_a_new_root_is_kept(tmp_path, now):
    first = load_or_create(tmp_path / "state" / "ca", "cluster.local", now=now)
    second = load_or_create(tmp_path / "state" / "ca", "cluster.local", now=now + timedelta(days=1))
    assert first.certificate == second.certificate
    assert first.certificate.subject.rfc4514_string() == "O=cluster.local"
    assert first.not_after == now + timedelta(days=3650)


def test_only_the_owner_may_read_what_was_created(tmp_path, now):
    directory = tmp_path / "ca"
    load_or_create(directory, "cluster.local", now=now)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "ca-key.pem").stat().st_mode) == 0o600
    assert sorted(os.listdir(directory)) == ["ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem"]
    assert os.listdir(tmp_path) == ["ca"]


def test_an_empty_directory_is_filled(tmp_path, now):
    (tmp_path / "ca").mkdir()
    assert load_or_create(tmp_path / "ca", "cluster.local", now=now) == load(tmp_path / "ca")


def test_many_that_start_at_once_get_one_root(tmp_path, now):
    with ThreadPoolExecutor(8) as pool:
        authorities = list(pool.map(lambda _: load_or_create(tmp_path / "ca", "cluster.local", now=now), range(16)))
    assert len({authority.certificate for authority in authorities}) == 1
    assert os.listdir(tmp_path) == ["ca"]


def test_a_directory_with_other_things_is_left_alone(tmp_path, now):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RootStoreError, match=r"holds no CA: expected ca-cert\.pem"):
        load_or_create(tmp_path, "cluster.local", now=now)
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_a_directory_that_cannot_be_made(tmp_path, root):
    (tmp_path / "ca").write_text("a file")
    with pytest.raises(RootStoreError, match="name a directory that does not exist yet"):
        create(tmp_path / "ca", root)
    assert os.listdir(tmp_path) == ["ca"]


def test_an_intermediate_survives_the_disk(tmp_path, intermediate):
    create(tmp_path / "ca", intermediate)
    read = load(tmp_path / "ca")
    assert (read.certificate, read.intermediates, read.roots) == (
        intermediate.certificate,
        intermediate.intermediates,
        intermediate.roots,
    )


def test_a_plugged_in_bundle(tmp_path, intermediate):
    read = load(plugged_in(tmp_path / "cacerts", intermediate))
    assert read.intermediates == intermediate.intermediates
    assert read.roots == intermediate.roots


def test_a_bundle_whose_chain_leaves_out_the_signing_certificate(tmp_path, intermediate):
    chain = pem(intermediate.intermediates[1:])
    assert load(plugged_in(tmp_path / "cacerts", intermediate, cert_chain=chain)).intermediates == (
        intermediate.intermediates
    )


def test_several_roots_are_one_trust_bundle(tmp_path, root, now):
    other = new_root("cluster.local", now=now)
    read = load(plugged_in(tmp_path / "cacerts", root, root_cert=pem([*root.roots, *other.roots])))
    assert read.roots == (*root.roots, *other.roots)
    assert read.intermediates == ()


def test_the_layout_of_a_tls_secret(tmp_path, intermediate):
    read = load(
        write(
            tmp_path / "cacerts",
            tls__crt=pem(intermediate.intermediates),
            tls__key=key_pem(intermediate),
            ca__crt=pem(intermediate.roots),
        )
    )
    assert read.intermediates == intermediate.intermediates


@pytest.mark.parametrize("name", ["ca-cert.pem", "ca-key.pem", "root-cert.pem"])
def test_an_incomplete_bundle_names_what_is_missing(tmp_path, root, now, name):
    directory = plugged_in(tmp_path / "cacerts", root)
    (directory / name).unlink()
    for read in (load, lambda path: load_or_create(path, "cluster.local", now=now)):
        with pytest.raises(RootStoreError, match=rf"incomplete: {name} missing"):
            read(directory)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"ca_key": b"rubbish"}, r"ca-key\.pem holds no unencrypted PEM private key"),
        ({"ca_cert": b"rubbish"}, r"ca-cert\.pem holds no PEM certificate"),
        ({"root_cert": b""}, r"root-cert\.pem holds no PEM certificate"),
        ({"cert_chain": b"rubbish"}, r"cert-chain\.pem holds no PEM certificate"),
    ],
)
def test_rubbish_in_a_bundle(tmp_path, root, changes, complaint):
    with pytest.raises(RootStoreError, match=complaint):
        load(plugged_in(tmp_path / "cacerts", root, **changes))


def test_a_file_that_cannot_be_read(tmp_path, root):
    directory = plugged_in(tmp_path / "cacerts", root)
    (directory / "root-cert.pem").unlink()
    (directory / "root-cert.pem").mkdir()
    with pytest.raises(RootStoreError, match=r"cannot read .*root-cert\.pem: Is a directory"):
        load(directory)


def test_a_directory_that_is_not_there(tmp_path):
    with pytest.raises(RootStoreError, match="is not a directory"):
        load(tmp_path / "nothing")


def test_a_key_of_another_authority(tmp_path, root, now):
    other = key_pem(new_root("cluster.local", now=now))
    with pytest.raises(RootStoreError, match="does not belong"):
        load(plugged_in(tmp_path / "cacerts", root, ca_key=other))


def test_an_encrypted_key_is_refused_without_showing_it(tmp_path, root):
    secret = key_pem(root, BestAvailableEncryption(b"password"))
    with pytest.raises(RootStoreError, match="no unencrypted PEM") as caught:
        load(plugged_in(tmp_path / "cacerts", root, ca_key=secret))
    assert "BEGIN" not in str(caught.value)


def test_a_key_of_another_kind(tmp_path, root):
    key = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(RootStoreError, match="not supported, use EC or RSA"):
        load(plugged_in(tmp_path / "cacerts", root, ca_key=key))


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o644])
def test_a_key_that_others_may_read_is_refused(tmp_path, root, mode):
    directory = plugged_in(tmp_path / "cacerts", root)
    (directory / "ca-key.pem").chmod(mode)
    with pytest.raises(RootStoreError, match=f"mode {mode:04o}, others may read the CA key"):
        load(directory)
    assert load(directory, private=False) == load_with_mode(directory, 0o600)


def load_with_mode(directory: Path, mode: int) -> Authority:
    (directory / "ca-key.pem").chmod(mode)
    return load(directory)


def test_a_directory_that_others_may_write_is_refused(tmp_path, root):
    directory = plugged_in(tmp_path / "cacerts", root)
    directory.chmod(0o770)
    with pytest.raises(RootStoreError, match="others may replace the CA"):
        load(directory)


def test_links_as_kubernetes_mounts_secrets(tmp_path, root):
    plugged_in(tmp_path / "..2026", root)
    directory = tmp_path / "cacerts"
    directory.mkdir(mode=0o700)
    (directory / "..data").symlink_to(tmp_path / "..2026")
    for name in ("ca-cert.pem", "ca-key.pem", "root-cert.pem", "cert-chain.pem"):
        (directory / name).symlink_to(Path("..data") / name)
    assert load(directory).certificate == root.certificate
