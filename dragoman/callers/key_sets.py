"""Public keys of token issuers: JSON Web Key Sets (RFC 7517)."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import jwt
import structlog

from crds import jwks
from dragoman.callers.credentials import UnavailableError
from dragoman.callers.fetch import Fetcher, FetchError
from dragoman.callers.openid import key_set_uri

log = structlog.get_logger(__name__)

REFRESH_AFTER: Final = 20 * 60.0
"""Seconds after which keys are fetched anew (Istio: PILOT_JWT_PUB_KEY_REFRESH_INTERVAL)."""
RETRY_AFTER: Final = 10.0
"""Seconds between fetches, whatever asks for them: tokens with invented key ids must not become a flood."""

_SECONDS: Final = 5.0
"""Longest time that a document may take."""


class KeySet:
    """Fixed keys."""

    def __init__(self, keys: tuple[jwt.PyJWK, ...]) -> None:
        self.keys = keys

    @classmethod
    def parse(cls, text: str | bytes) -> KeySet:
        """The keys for verifying signatures of a key set; raises `crds.jwks.KeySetError` if there are none.

        Keys of kinds that are not known are passed over, as new ones may come before they are understood.
        """
        found = jwks.read(text, shared_secrets=False)
        if not found.keys:
            raise jwks.KeySetError("the key set has no public key that verifies signatures")
        return cls(tuple(map(jwt.PyJWK.from_json, found.keys)))

    async def find(self, key_id: str | None) -> tuple[jwt.PyJWK, ...]:
        return tuple(key for key in self.keys if key_id is None or key.key_id in (None, key_id))


class RemoteKeySet:
    """The keys at a URI, or where the issuer's OpenID configuration says they are. The last good ones are kept."""

    def __init__(self, *, uri: str = "", issuer: str = "") -> None:
        self._uri = uri
        self._issuer = issuer
        self._keys: KeySet | None = None
        self._asked_at = float("-inf")
        self._problem = ""
        self._turn = asyncio.Lock()

    async def find(self, key_id: str | None) -> tuple[jwt.PyJWK, ...]:
        found = await self._keys.find(key_id) if self._keys is not None else ()
        age = time.monotonic() - self._asked_at
        if (not found and age > RETRY_AFTER) or age > REFRESH_AFTER:
            async with self._turn:
                if time.monotonic() - self._asked_at > RETRY_AFTER:
                    await self._fetch()
            found = await self._keys.find(key_id) if self._keys is not None else ()
        if self._keys is None:
            raise UnavailableError(f"the keys of the token's issuer cannot be had: {self._problem}")
        return found

    async def _fetch(self) -> None:
        self._asked_at = time.monotonic()
        fetcher = Fetcher()
        try:
            uri = self._uri or await key_set_uri(fetcher, self._issuer, seconds=_SECONDS)
            self._keys = KeySet.parse(await fetcher.get(uri, seconds=_SECONDS))
        except (FetchError, jwks.KeySetError) as error:
            self._problem = str(error)
            log.error("keys of a token issuer not fetched", uri=self._uri or self._issuer, error=self._problem)
