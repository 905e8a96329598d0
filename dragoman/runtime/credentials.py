"""Secrets that gateways terminate TLS with, on their way to the gateways that may have them.

A gateway gets Secrets of its own namespace that one of its Gateway resources names, and no other (Istio:
pilot/pkg/credentials). They never enter the engine: only their names do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from crds.kubernetes.secret import Secret
from crds.meta import ObjectKey
from dragoman.codec import Encoded, Ref
from dragoman.engine import Mount, Transaction
from dragoman.mesh.gateways import credentials_of
from dragoman.mesh.proxies import GatewayView
from translators.credentials import CredentialError, credential_secret, secret_name
from xds import View

log = structlog.get_logger(__name__)


class _Held:
    __slots__ = ("holders", "mount", "sent", "view")

    def __init__(self, key: GatewayView, mount: Mount) -> None:
        self.mount = mount
        self.view = View(f"credentials {key.namespace}", secret=True)
        self.sent: dict[Ref, Encoded | None] = {}
        self.holders = 0


class Credentials:
    """The credentials in use, by gateway view. `objects` are all objects in force, Secrets among them."""

    def __init__(self, objects: Mapping[ObjectKey, Any]) -> None:
        self._objects = objects
        self._held: dict[GatewayView, _Held] = {}

    def acquire(self, key: GatewayView, tx: Transaction) -> View:
        """The credentials of a gateway for one more holder; filled when the transaction publishes."""
        held = self._held.get(key)
        if held is None:
            held = self._held[key] = _Held(key, tx.mount(credentials_of.call(key)))
        held.holders += 1
        return held.view

    def release(self, key: GatewayView) -> None:
        held = self._held[key]
        held.holders -= 1
        if not held.holders:
            held.mount.close()
            del self._held[key]

    def publish(self, changed: tuple[Mount, ...], keys: frozenset[ObjectKey]) -> None:
        """Take over changed names and changed Secrets."""
        for view, held in self._held.items():
            names = next(iter(held.mount.leaves().values()), ())
            wanted = {secret_name(name) for name in names} if isinstance(names, tuple) else set()
            if held.mount in changed or any(
                key.kind == "Secret" and key.namespace == view.namespace and key.name in wanted for key in keys
            ):
                self._fill(view, held, names if isinstance(names, tuple) else ())

    def _fill(self, key: GatewayView, held: _Held, names: tuple[str, ...]) -> None:
        found: dict[Ref, Encoded | None] = dict.fromkeys(held.sent)
        for name in names:
            secret = self._objects.get(ObjectKey("Secret", key.namespace, secret_name(name)))
            try:
                encoded = credential_secret(name, secret if isinstance(secret, Secret) else None)
            except CredentialError as error:
                # A broken Secret never displaces a good one: what the gateway has stays.
                log.warning("credential unusable", namespace=key.namespace, credential=name, error=str(error))
                encoded = next((e for ref, e in held.sent.items() if ref[1] == name), None)
            if encoded is not None:
                found[encoded.type_url, encoded.name] = encoded
        held.view.apply(found)
        held.sent = {ref: encoded for ref, encoded in found.items() if encoded is not None}
