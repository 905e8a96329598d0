"""Who a caller of the control plane is, once an authenticator has said so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ca.identity import SpiffeId


@dataclass(frozen=True, slots=True)
class PodBinding:
    """The pod that a token is bound to (Kubernetes: the `extra` of a TokenReview). Empty parts are not known."""

    namespace: str
    name: str
    uid: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class Caller:
    """A verified caller: nothing in here is a claim of its own.

    `identities` are what it has proved to be, at least one; `source` is the authenticator that said so, in a word, for
    logs (Istio: security/pkg/server/ca/authenticate). The proof holds until `expires_at`, if that is known.
    """

    identities: tuple[SpiffeId, ...]
    source: str
    pod: PodBinding | None = None
    expires_at: datetime | None = None
