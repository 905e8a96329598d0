"""What `serve` is told of its callers: whose word it takes for who they are."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import typer

from dragoman.callers.authenticators import Authenticator
from dragoman.callers.client_certificate import ClientCertificate
from dragoman.callers.forwarded_certificate import ForwardedCertificate, Network
from dragoman.callers.json_web_token import JsonWebToken
from dragoman.callers.jwt_rule import JwtRule, JwtRuleError
from dragoman.callers.token_issuer import AUDIENCE, ISSUER, TokenIssuer, TokenKeyError
from dragoman.callers.token_review import TokenReview
from dragoman.cli.output import fail
from dragoman.cli.state import root_file, token_folder
from dragoman.kube import Cluster
from dragoman.runtime.identities import Identities
from dragoman.runtime.replaced_file import replace
from dragoman.runtime.trust_domains import TrustDomains


class TrustedCallers(NamedTuple):
    audiences: tuple[str, ...]
    jwt_rules: tuple[JwtRule, ...]
    gateways: tuple[Network, ...]


def trusted_callers(audiences: Sequence[str], rules: Sequence[str], gateways: Sequence[str]) -> TrustedCallers:
    """Parse the options; wrong ones are usage errors (exit code 2)."""
    try:
        parsed = tuple(map(JwtRule.parse, rules))
        for rule in parsed:
            rule.keys()
    except JwtRuleError as error:
        raise typer.BadParameter(f"--jwt-rule: {error}") from None
    try:
        networks = tuple(map(ipaddress.ip_network, gateways))
    except ValueError as error:
        raise typer.BadParameter(f"--trusted-gateway-cidr: {error}") from None
    return TrustedCallers(tuple(audiences) or (AUDIENCE,), parsed, networks)


def authenticators(
    callers: TrustedCallers, state: Path, cluster: Cluster | None, trust_domains: TrustDomains
) -> list[Authenticator]:
    """In Istio's order: client certificates, tokens of trusted issuers, Kubernetes, trusted gateways.

    Outside of a cluster, `dragoman token` is the issuer that a cluster would be.
    """
    found: list[Authenticator] = [ClientCertificate(trust_domains.all)]
    found += [JsonWebToken(rule.issuer, rule.audiences, rule.keys(), trust_domains.own) for rule in callers.jwt_rules]
    if cluster is not None:
        found.append(TokenReview(cluster, callers.audiences, trust_domains.own))
    else:
        try:
            own = TokenIssuer.load_or_create(token_folder(state))
        except (TokenKeyError, OSError) as error:
            raise fail(f"no key for tokens: {error}") from None
        found.append(JsonWebToken(ISSUER, callers.audiences, own.keys(), trust_domains.own, name="token"))
    found.append(ForwardedCertificate(callers.gateways, trust_domains.all))
    return found


def keep_root_file(identities: Identities, state: Path) -> None:
    """Keep the trust bundle in a file: for bootstraps, whose Envoys watch it."""
    path = root_file(state)

    def write() -> None:
        replace(path, identities.roots_pem, mode=0o644)

    write()
    identities.on_roots_changed.append(write)


def ip_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that `text` spells, None for a name."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
