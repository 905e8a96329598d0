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
from dragoman.codec import SECRET, Encoded, Ref
from dragoman.engine import Failure, Mount, Transaction
from dragoman.mesh.credentials import secret_names
from dragoman.mesh.gateways import credentials_of
from dragoman.mesh.proxies import GatewayView
from translators.credentials import CredentialError, credential_secret
from xds import View

log = structlog.get_logger(__name__)


class _Held:
    __slots__ = ("holders", "mount", "problems", "sent", "view")

    def __init__(self, key: GatewayView, mount: Mount) -> None:
        self.mount = mount
        self.view = View(f"credentials {key.namespace}", secret=True)
        self.sent: dict[Ref, Encoded] = {}
        self.problems: dict[str, str] = {}
        """What is wrong with credentials, by SDS name."""
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

    def delivered(self, key: GatewayView) -> tuple[str, ...]:
        """The names of the credentials that a gateway has."""
        return tuple(sorted(name for _, name in self._held[key].sent))

    def made_from(self, view: View, name: str) -> tuple[ObjectKey, ...]:
        """The Secret that a credential of a view was made from; none if the view is none of these."""
        for key, held in self._held.items():
            if held.view is view:
                secrets = (ObjectKey("Secret", key.namespace, secret) for secret in secret_names(name))
                return tuple(secret for secret in secrets if secret in self._objects)[:1]
        return ()

    def publish(self, changed: tuple[Mount, ...], keys: frozenset[ObjectKey]) -> None:
        """Take over changed names and changed Secrets."""
        secrets = {(key.namespace, key.name) for key in keys if key.kind == "Secret"}
        for view, held in self._held.items():
            names = _names(held.mount)
            if held.mount in changed or any(
                (view.namespace, secret) in secrets for name in names for secret in secret_names(name)
            ):
                self._fill(view, held, names)

    def _fill(self, key: GatewayView, held: _Held, names: tuple[str, ...]) -> None:
        found: dict[Ref, Encoded | None] = dict.fromkeys(held.sent)
        problems: dict[str, str] = {}
        for name in names:
            try:
                encoded = credential_secret(name, lambda secret: self._secret(key.namespace, secret))
                if encoded is None:
                    # Only the servers of this certificate wait: told that a secret does not exist, Envoy opens the
                    # listener and resets the connections that need it (Envoy: NotReadySslSocket).
                    problems[name] = f"no Secret {key.namespace}/{secret_names(name)[-1]}"
            except CredentialError as error:
                # A broken Secret never displaces a good one: what the gateway has stays.
                problems[name] = str(error)
                encoded = held.sent.get((SECRET, name))
            if encoded is not None:
                found[SECRET, name] = encoded
        for name, problem in problems.items():
            if held.problems.get(name) != problem:
                log.warning("credential unusable", gateway=held.view.name, credential=name, error=problem)
        held.problems = problems
        held.view.apply(found)
        held.sent = {ref: encoded for ref, encoded in found.items() if encoded is not None}

    def _secret(self, namespace: str, name: str) -> Secret | None:
        found = self._objects.get(ObjectKey("Secret", namespace, name))
        return found if isinstance(found, Secret) else None


def _names(mount: Mount) -> tuple[str, ...]:
    """The names in force; while they cannot be computed, none is new and none goes."""
    for value in mount.leaves().values():
        found: Any = value.last_good if isinstance(value, Failure) else value
        if isinstance(found, tuple):
            return found
    return ()
