"""Which issuers of tokens are trusted: `--jwt-rule`, as Istio's control plane has it."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from crds.jwks import KeySetError
from dragoman.callers.json_web_token import Keys
from dragoman.callers.key_sets import KeySet, RemoteKeySet


class JwtRuleError(ValueError):
    """The rule cannot be used; `str()` says why."""


class JwtRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """An issuer of tokens (Istio: pilot-discovery's `--jwtRule`, fields of RequestAuthentication's JWTRule).

    Without `jwks` and `jwks_uri` the keys are where the issuer's OpenID configuration says.
    """

    issuer: str
    audiences: tuple[str, ...] = ("istio-ca",)
    jwks: str = ""
    jwks_uri: str = ""

    @classmethod
    def parse(cls, text: str) -> JwtRule:
        """The rule that this JSON spells; raises `JwtRuleError`."""
        try:
            # Istio's API accepts both spellings of the field.
            rule = msgspec.json.decode(text.replace('"jwks_uri"', '"jwksUri"'), type=cls)
        except msgspec.MsgspecError as error:
            raise JwtRuleError(f"not a JWT rule: {error}") from None
        if not rule.issuer or not rule.audiences or not all(rule.audiences):
            raise JwtRuleError("a JWT rule needs an issuer, and audiences that are not empty")
        if not rule.jwks:
            _require_safe(rule.jwks_uri or rule.issuer)
        return rule

    def keys(self) -> Keys:
        """Where the issuer's keys come from; raises `JwtRuleError` for unusable `jwks`."""
        if not self.jwks:
            return RemoteKeySet(uri=self.jwks_uri, issuer=self.issuer)
        try:
            return KeySet.parse(self.jwks)
        except KeySetError as error:
            raise JwtRuleError(f"jwks: {error}") from None


def _require_safe(uri: str) -> None:
    parts = urlsplit(uri)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")):
        raise JwtRuleError(f"keys must come over https, or from this machine: {uri!r}")
