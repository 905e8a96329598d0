"""Where `serve` and the `ca` commands find the state of the CA."""

from __future__ import annotations

import secrets
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509

from ca.authority import DEFAULT_LIFETIME, Authority, new_root
from ca.keeper import Keeper
from ca.plugged_in import Given, PluggedIn, PluggedInCa
from ca.root_store import load
from ca.rotation import OVERLAP
from ca.store import FileStore, Store
from dragoman.kube import Cluster
from dragoman.operator.ca_secret import PluggedInSecret, SecretStore

TRUST_DOMAIN: Final = "cluster.local"
"""Whom a new root names as its organisation. What certificates say comes from MeshConfig.trustDomain."""

_PARTS: Final = ("ca-key.pem", "ca-cert.pem", "cert-chain.pem", "root-cert.pem")


class Opened(NamedTuple):
    keeper: Keeper
    plugged_in: PluggedInCa | None
    """Where another may put a CA that is to be gone over to."""
    revoked: tuple[x509.CertificateRevocationList, ...]


def state_file(state: Path) -> Path:
    """The CA's state in a state folder."""
    return state / "ca" / "authority.json"


async def open_ca(
    state: Path,
    plugged_in: Path | None,
    *,
    lifetime: timedelta = DEFAULT_LIFETIME,
    overlap: timedelta = OVERLAP,
) -> Opened:
    """The CA of a state folder: the one that was plugged in, the one kept there, or a new self-signed root.

    Raises `AuthorityError`, `OSError`.
    """
    now = datetime.now(UTC)
    replica = replica_name()
    store = FileStore(state_file(state))
    if plugged_in is None:
        keeper = Keeper(store, replica, lifetime=lifetime, overlap=overlap, renew=new_self_signed)
        await keeper.open(lambda: _kept_before(state / "ca") or new_self_signed(now), now)
        _forget_parts(state / "ca")
        return Opened(keeper, None, ())
    folder = PluggedIn(plugged_in)
    return await _given(folder, folder.read(), store, replica, lifetime, overlap)


async def open_ca_of_cluster(
    cluster: Cluster,
    namespace: str,
    plugged_in: Path | None,
    replica: str,
    *,
    lifetime: timedelta = DEFAULT_LIFETIME,
    overlap: timedelta = OVERLAP,
) -> Opened:
    """The CA of a control plane in a cluster: the operator's own (a folder, else the Secret `cacerts`), the one that is
    kept in the Secret `istio-ca-secret`, Istio's included, or a new self-signed root.

    Raises `AuthorityError`, `OSError`.
    """
    now = datetime.now(UTC)
    store = SecretStore(cluster, namespace)
    if plugged_in is not None:
        folder = PluggedIn(plugged_in)
        return await _given(folder, folder.read(), store, replica, lifetime, overlap)
    secret = PluggedInSecret(cluster, namespace)
    given = await secret.read()
    if given is None:
        keeper = Keeper(store, replica, lifetime=lifetime, overlap=overlap, renew=new_self_signed)
        await keeper.open(lambda: store.kept_before() or new_self_signed(now), now)
        return Opened(keeper, store, ())
    return await _given(secret, given, store, replica, lifetime, overlap)


async def _given(
    ca: PluggedInCa, given: Given, store: Store, replica: str, lifetime: timedelta, overlap: timedelta
) -> Opened:
    """The operator's own CA, which the state goes over to."""
    now = datetime.now(UTC)
    keeper = Keeper(store, replica, lifetime=lifetime, overlap=overlap)
    await keeper.open(lambda: given.authority, now)
    await keeper.offer(given.authority, now)
    return Opened(keeper, ca, given.revoked)


def replica_name() -> str:
    """This process; random, so that one that crashed is not taken for the one that follows it."""
    return f"{socket.gethostname()}-{secrets.token_hex(3)}"


def new_self_signed(now: datetime) -> Authority:
    return new_root(TRUST_DOMAIN, now=now)


def _kept_before(folder: Path) -> Authority | None:
    """The authority in the four files of earlier versions."""
    return load(folder) if (folder / "ca-key.pem").exists() else None


def _forget_parts(folder: Path) -> None:
    """What the state holds now: a second copy of the key would outlive its rotation."""
    for name in _PARTS:
        (folder / name).unlink(missing_ok=True)
