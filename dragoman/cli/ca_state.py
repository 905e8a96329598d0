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
from ca.plugged_in import PluggedIn
from ca.root_store import load
from ca.rotation import OVERLAP
from ca.store import FileStore

TRUST_DOMAIN: Final = "cluster.local"
"""Whom a new root names as its organisation. What certificates say comes from MeshConfig.trustDomain."""

_PARTS: Final = ("ca-key.pem", "ca-cert.pem", "cert-chain.pem", "root-cert.pem")


class Opened(NamedTuple):
    keeper: Keeper
    plugged_in: PluggedIn | None
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
    # Random, so that a replica that crashed is not taken for the one that follows it.
    replica = f"{socket.gethostname()}-{secrets.token_hex(3)}"
    store = FileStore(state_file(state))
    if plugged_in is None:
        keeper = Keeper(store, replica, lifetime=lifetime, overlap=overlap, renew=new_self_signed)
        await keeper.open(lambda: _kept_before(state / "ca") or new_self_signed(now), now)
        _forget_parts(state / "ca")
        return Opened(keeper, None, ())
    folder = PluggedIn(plugged_in)
    given = folder.read()
    keeper = Keeper(store, replica, lifetime=lifetime, overlap=overlap)
    await keeper.open(lambda: given.authority, now)
    await keeper.offer(given.authority, now)
    return Opened(keeper, folder, given.revoked)


def new_self_signed(now: datetime) -> Authority:
    return new_root(TRUST_DOMAIN, now=now)


def _kept_before(folder: Path) -> Authority | None:
    """The authority in the four files of earlier versions."""
    return load(folder) if (folder / "ca-key.pem").exists() else None


def _forget_parts(folder: Path) -> None:
    """What the state holds now: a second copy of the key would outlive its rotation."""
    for name in _PARTS:
        (folder / name).unlink(missing_ok=True)
