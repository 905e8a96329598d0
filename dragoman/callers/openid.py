"""OpenID Connect Discovery 1.0: where an issuer's keys are."""

from __future__ import annotations

import msgspec

from dragoman.callers.fetch import Fetcher, FetchError, same_or_better


class _Configuration(msgspec.Struct, frozen=True):
    jwks_uri: str


async def key_set_uri(fetcher: Fetcher, issuer: str, *, seconds: float) -> str:
    """The URI of the issuer's key set (section 4); raises `FetchError`."""
    url = f"{issuer.removesuffix('/')}/.well-known/openid-configuration"
    try:
        found = msgspec.json.decode(await fetcher.get(url, seconds=seconds), type=_Configuration).jwks_uri
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise FetchError(f"{url} is no OpenID configuration with a jwks_uri") from None
    if not same_or_better(url, found):
        raise FetchError(f"the jwks_uri of {url} is no https URL")
    return found
