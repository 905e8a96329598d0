"""Callers with a JSON Web Token of an issuer that the operator trusts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import jwt

from ca.caller import Caller
from dragoman.callers.credentials import Credentials, NotAuthenticatedError
from dragoman.callers.service_account import binding, identity

LEEWAY: Final = timedelta(seconds=30)
"""How far the issuer's clock may be from ours."""

_FOR_EVER: Final = 250_000_000_000
"""Seconds since the epoch, in the year 9892: about the last that a datetime can hold."""

_ALGORITHMS: Final[Mapping[str, frozenset[str]]] = {
    "RSA": frozenset(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
    "P-256": frozenset(("ES256",)),
    "P-384": frozenset(("ES384",)),
    "P-521": frozenset(("ES512",)),
    "Ed25519": frozenset(("EdDSA",)),
}
"""What a key of each kind may sign with. Asymmetric only: a verifier of HMACs could make tokens itself (RFC 8725,
section 3.1), and `none` is no signature."""


class Keys(Protocol):
    """The public keys of an issuer."""

    async def find(self, key_id: str | None) -> tuple[jwt.PyJWK, ...]:
        """The keys of this id; all of them for a token that names none. Raises `UnavailableError` before there are any
        keys."""


class JsonWebToken:
    """Verifies tokens of one issuer for one of `audiences` (Istio: security/pkg/server/ca/authenticate/oidc.go).

    Subjects are `system:serviceaccount:NAMESPACE:NAME`. Tokens of other issuers are left to others.
    """

    def __init__(
        self,
        issuer: str,
        audiences: tuple[str, ...],
        keys: Keys,
        trust_domain: Callable[[], str],
        *,
        name: str = "jwt",
    ) -> None:
        self.name = name
        self._issuer = issuer
        self._audiences = audiences
        self._keys = keys
        self._trust_domain = trust_domain

    async def authenticate(self, credentials: Credentials) -> Caller | None:
        if credentials.token is None:
            return None
        try:
            # Which issuer's keys to try; believed only after the signature.
            unverified = jwt.decode_complete(credentials.token, options={"verify_signature": False})
        except (jwt.InvalidTokenError, ValueError, RecursionError):
            raise NotAuthenticatedError("the token is no JSON Web Token") from None
        if unverified["payload"].get("iss") != self._issuer:
            return None
        claims = await self._verify(credentials.token, unverified["header"])
        who = identity(claims["sub"], self._trust_domain())
        expires = datetime.fromtimestamp(min(int(claims["exp"]), _FOR_EVER), UTC) + LEEWAY
        return Caller((who,), self.name, binding(claims, who), expires)

    async def _verify(self, token: str, header: Mapping[str, Any]) -> dict[str, Any]:
        key_id = header.get("kid")
        for key in await self._keys.find(key_id if isinstance(key_id, str) else None):
            algorithm = header.get("alg")
            if algorithm not in _allowed(key):
                continue
            try:
                return dict(
                    jwt.decode(
                        token,
                        key.key,
                        algorithms=[str(algorithm)],
                        audience=self._audiences,
                        issuer=self._issuer,
                        leeway=LEEWAY,
                        options={"require": ["exp", "sub", "aud", "iss"]},
                    )
                )
            except jwt.InvalidSignatureError:
                continue
            except jwt.ExpiredSignatureError:
                raise NotAuthenticatedError("the token has expired: bring the newer one") from None
            except jwt.InvalidAudienceError:
                wanted = " or ".join(map(repr, self._audiences))
                raise NotAuthenticatedError(f"the token is for another audience than {wanted}") from None
            except (jwt.InvalidTokenError, ValueError, OverflowError) as error:
                raise NotAuthenticatedError(f"the token does not hold: {error}") from None
        raise NotAuthenticatedError("no key of the issuer has signed the token")


def _allowed(key: jwt.PyJWK) -> frozenset[str]:
    written: Mapping[str, Any] = key._jwk_data
    kind = "RSA" if key.key_type == "RSA" else written.get("crv", "")
    fitting = _ALGORITHMS.get(kind, frozenset())
    return fitting & {written["alg"]} if "alg" in written else fitting
