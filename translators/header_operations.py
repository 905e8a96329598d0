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
from translators.format_strings import refuse_unknown_commands
from translators.header_text import one_line

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
        request_remove=tuple(_removed(request.remove, "headers.request.remove")),
        response_add=tuple(_added(response, "headers.response")),
        response_remove=tuple(_removed(response.remove, "headers.response.remove")),
        authority=next((value for name, value in sorted(request.set.items()) if name.lower() in _AUTHORITY), ""),
    )


def _added(operations: HeaderOperations, path: str) -> Iterator[HeaderValueOption]:
    yield from _options(operations.set, Append.OVERWRITE_IF_EXISTS_OR_ADD, f"{path}.set")
    yield from _options(operations.add, Append.APPEND_IF_EXISTS_OR_ADD, f"{path}.add")


def _options(values: Mapping[str, str], action: Append, path: str) -> Iterator[HeaderValueOption]:
    for name in _plain(sorted(values)):
        value = values[name]
        one_line(name, path)
        one_line(value, f"{path}.{name}")
        refuse_unknown_commands(value, f"{path}.{name}")
        yield HeaderValueOption(header=HeaderValue(key=name, value=value), append_action=action)


def _removed(names: Iterable[str], path: str) -> Iterator[str]:
    return (one_line(name, path) for name in _plain(names))


def _plain(names: Iterable[str]) -> Iterator[str]:
    return (name for name in names if name and not name.startswith(":") and name.lower() not in _AUTHORITY)
