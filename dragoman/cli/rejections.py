"""What a person is told on standard error while proxies are served: what they reject, and what cannot be made."""

from __future__ import annotations

from collections.abc import Iterable

from crds.meta import ObjectKey
from dragoman.cli.problems import tell
from dragoman.runtime.control_plane import FailedResource
from dragoman.runtime.observer import Nack, discovery_service


def tell_nack(nack: Nack) -> None:
    """Print a rejection: the proxy, its words, and the objects that the rejected resources were made from."""
    type_ = discovery_service(nack.type_url).upper()
    if not nack.names:
        tell(f"error: {nack.proxy} rejected a response of {type_}; searching for the culprit: {nack.message}")
    for name, origins in zip(nack.names, nack.origins, strict=True):
        tell(f"error: {nack.proxy} rejected {name!r} of {type_}: {nack.message}{_made_from(origins)}")


def tell_failure(failed: FailedResource) -> None:
    """Print why a resource cannot be made, and what it would have been made from."""
    tell(f"error: {failed.view}: {failed.reason}{_made_from(failed.origins)}; proxies keep what they have of it")


def _made_from(origins: Iterable[ObjectKey]) -> str:
    listed = ", ".join(map(str, origins))
    return f"; made from {listed}" if listed else ""
