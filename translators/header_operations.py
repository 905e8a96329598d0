"""Headers that a route sets, adds and removes (Istio: route.go, TranslateHeadersOperations)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValue,
    HeaderValueOption,
)
from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValueOptionHeaderAppendAction as Append,
)
from envoy_data_plane.envoy.config.route.v3 import Route, WeightedClusterClusterWeight

from crds.virtualservice import HeaderOperations, Headers
from translators.untranslatable import UntranslatableError

_AUTHORITY = (":authority", "host")


@dataclass(frozen=True, slots=True)
class HeaderChanges:
    """`authority` is what `host` or `:authority` is set to: for Envoy that is a rewrite of the host, not a header."""

    request_add: tuple[HeaderValueOption, ...] = ()
    request_remove: tuple[str, ...] = ()
    response_add: tuple[HeaderValueOption, ...] = ()
    response_remove: tuple[str, ...] = ()
    authority: str = ""

    def apply(self, to: Route | WeightedClusterClusterWeight) -> None:
        to.request_headers_to_add = [*to.request_headers_to_add, *self.request_add]
        to.request_headers_to_remove = [*to.request_headers_to_remove, *self.request_remove]
        to.response_headers_to_add = [*to.response_headers_to_add, *self.response_add]
        to.response_headers_to_remove = [*to.response_headers_to_remove, *self.response_remove]


NO_CHANGES = HeaderChanges()


def header_changes(headers: Headers | None) -> HeaderChanges:
    """What `headers` asks for; pseudo-headers other than the authority are left alone: Envoy refuses to touch them."""
    if headers is None:
        return NO_CHANGES
    request = headers.request or HeaderOperations()
    response = headers.response or HeaderOperations()
    return HeaderChanges(
        request_add=tuple(_added(request, "headers.request")),
        request_remove=tuple(_plain(request.remove)),
        response_add=tuple(_added(response, "headers.response")),
        response_remove=tuple(_plain(response.remove)),
        authority=next((value for name, value in sorted(request.set.items()) if name.lower() in _AUTHORITY), ""),
    )


def _added(operations: HeaderOperations, path: str) -> Iterator[HeaderValueOption]:
    yield from _options(operations.set, Append.OVERWRITE_IF_EXISTS_OR_ADD, f"{path}.set")
    yield from _options(operations.add, Append.APPEND_IF_EXISTS_OR_ADD, f"{path}.add")


def _options(values: Mapping[str, str], action: Append, path: str) -> Iterator[HeaderValueOption]:
    for name in _plain(sorted(values)):
        value = values[name]
        if any(sign in name or sign in value for sign in "\0\r\n"):
            raise UntranslatableError(f"{path}.{name}", "a header must not contain line breaks or NUL")
        if value.replace("%%", "").count("%") % 2:
            # Envoy reads %…% as an access-log operator and refuses one that does not end.
            raise UntranslatableError(f"{path}.{name}", "a single % starts an operator: write %% for the sign itself")
        yield HeaderValueOption(header=HeaderValue(key=name, value=value), append_action=action)


def _plain(names: Iterable[str]) -> Iterator[str]:
    return (name for name in names if name and not name.startswith(":") and name.lower() not in _AUTHORITY)
