"""What a person is told on standard error while proxies are served: what they reject, what cannot be made or had."""

from __future__ import annotations

from collections.abc import Sequence

from dragoman.cli.problems import tell
from dragoman.runtime.blame import Origin, RejectedResource
from dragoman.runtime.diagnosis import FailedResource, UnusableCredential
from dragoman.runtime.key_sets import UnfetchedKeys
from dragoman.runtime.observer import Nack, discovery_service

LISTED = 8
"""Objects named in a line; `/debug/nackz` has all."""


def tell_nack(nack: Nack) -> None:
    """Print a rejection: the proxy, its words, the objects to look at, and what proxies get instead."""
    type_, words = discovery_service(nack.type_url).upper(), " ".join(nack.message.split())
    if not nack.resources:
        tell(f"error: {nack.proxies[0]} rejected a response of {type_}; searching for the culprit: {words}")
    for resource in nack.resources:
        made_from = _made_from(resource.made_from)
        tell(f"error: {nack.proxies[0]} rejected {resource.name!r} of {type_}: {words}{made_from}{_instead(resource)}")


def tell_failure(failed: FailedResource) -> None:
    """Print why a resource cannot be made, and what it would have been made from."""
    tell(f"error: {failed.view}: {failed.reason}{_made_from(failed.origins)}; proxies keep what they have of it")


def tell_unfetched(keys: UnfetchedKeys) -> None:
    """Print why keys of a token issuer cannot be fetched, for which policies, and what that means."""
    so = "those of before stay in force" if keys.kept else "until then its tokens are refused"
    tell(f"error: keys of a token issuer not fetched: {keys.problem}{_listed('named by', keys.policies)}; {so}")


def tell_credential(unusable: UnusableCredential) -> None:
    """Print what is wrong with a credential, at the object at fault, and which others name it."""
    found, (fault, *others) = unusable.found, unusable.origins
    problem = found.problem
    remedy = f" ({problem.remedy})" if problem.remedy else ""
    at = f"{fault.at}: " if fault.at else ""
    kept = "; the last good version stays in force" if found.kept_last_good else ""
    what = f"{at}{problem.code} {fault.key}: {problem.path}: {problem.message}{remedy}"
    tell(f"{problem.severity}: {what}{_listed('named by', others)}{kept}")


def _made_from(origins: Sequence[Origin]) -> str:
    return _listed("made from", origins)


def _listed(relation: str, origins: Sequence[Origin]) -> str:
    listed = ", ".join(map(str, origins[:LISTED]))
    more = f" and {len(origins) - LISTED} more" if len(origins) > LISTED else ""
    return f"; {relation} {listed}{more}" if listed else ""


def _instead(resource: RejectedResource) -> str:
    if not resource.held_back:
        return "; other proxies have accepted it, and only this one does without"
    if resource.served_instead is None:
        return "; there is no good version before it: proxies do without"
    return "; the last good version stays in force"
