"""What `serve` is told of fetching the keys of token issuers."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from datetime import timedelta

import typer

from dragoman.callers.address_rules import AddressRules, Network
from dragoman.cli.durations import duration
from dragoman.mesh.inputs import KeyFetcher
from dragoman.runtime.key_sets import KeyFetching

_LEAST = timedelta(seconds=1)


_FETCHERS: Mapping[str, KeyFetcher] = {
    **{str(each): each for each in KeyFetcher},
    "istiod": KeyFetcher.CONTROL_PLANE,
    "false": KeyFetcher.CONTROL_PLANE,
    "true": KeyFetcher.HYBRID,
}
"""Names of our own, and those of Istio's variable."""


def key_fetching(interval: str, allowed: Sequence[str], blocked: Sequence[str], fetcher: str) -> KeyFetching:
    """Parse the options; wrong ones are usage errors (exit code 2)."""
    refresh_after = duration(interval)
    if refresh_after < _LEAST:
        raise typer.BadParameter(f"--jwks-refresh-interval {interval}: at least {_LEAST.seconds}s")
    rules = AddressRules(_networks("--jwks-allowed-cidr", allowed), _networks("--jwks-blocked-cidr", blocked))
    if fetcher.lower() not in _FETCHERS:
        raise typer.BadParameter(f"--jwks-fetched-by {fetcher}: {', '.join(KeyFetcher)}")
    return KeyFetching(rules, refresh_after.total_seconds(), _FETCHERS[fetcher.lower()])


def _networks(option: str, texts: Sequence[str]) -> tuple[Network, ...]:
    """Each text is a block, or several with commas between, as in Istio's variable."""
    blocks = (block.strip() for text in texts for block in text.split(","))
    try:
        return tuple(ipaddress.ip_network(block) for block in blocks if block)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}") from None
