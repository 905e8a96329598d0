"""What proxies do without because an Envoy rejected it, and whose doing that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from crds.meta import ObjectKey
from dragoman.codec import Ref
from dragoman.runtime.blame import RejectedResource
from dragoman.runtime.mounted_views import MountedViews
from dragoman.runtime.observer import discovery_service
from xds import View
from xds.acceptance import clients_of
from xds.resource import Resource

Describe = Callable[[View, Resource], RejectedResource]
"""Says whose doing a rejected resource is."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A version that an Envoy rejected, or that needs one that was."""

    version: str
    message: str
    """Envoy's words, or what it needs."""
    proxies: tuple[str, ...]
    """Those that do without it, where others have it; empty where nobody gets it."""
    blamed: frozenset[ObjectKey]


class Troubles:
    """The rejections of all views in use, as of the last look."""

    def __init__(self, mounted: MountedViews, describe: Describe) -> None:
        self._mounted = mounted
        self._describe = describe
        self._found: dict[View, dict[Ref, Trouble]] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def of(self, view: View) -> Mapping[Ref, Trouble]:
        """Those of a view, by resource."""
        return self._found.get(view, {})

    def look(self) -> Iterator[tuple[View, Ref, Trouble]]:
        """Find them anew; to be exhausted. Who is to blame for a version is asked once."""
        known, self._found = self._found, {}
        for mounted in self._mounted:
            view = mounted.view
            for ref, (version, message, proxies) in _rejected(view).items():
                before = known.get(view, {}).get(ref)
                same = before is not None and before.version == version
                blamed = before.blamed if before is not None and same else self._blamed(view, ref)
                trouble = Trouble(version, message, proxies, blamed)
                self._found.setdefault(view, {})[ref] = trouble
                yield view, ref, trouble

    def _blamed(self, view: View, ref: Ref) -> frozenset[ObjectKey]:
        wanted = view.wanted(ref)
        return frozenset() if wanted is None else frozenset(each.key for each in self._describe(view, wanted).made_from)


def _rejected(view: View) -> dict[Ref, tuple[str, str, tuple[str, ...]]]:
    """Version, words and proxies of what is held back from all, and of what some refused alone."""
    found: dict[Ref, tuple[str, str, tuple[str, ...]]] = {
        ref: (blocked.wanted.version, _words(blocked.reason), ()) for ref, blocked in view.blocked().items()
    }
    for client in clients_of(view):
        for type_url, delivery in client.types.items():
            for name, (version, message) in delivery.refused.items():
                ref = (type_url, name)
                wanted = view.wanted(ref)
                if wanted is not None and wanted.version == version:
                    _, _, others = found.get(ref, ("", "", ()))
                    found[ref] = (version, message, (*others, client.proxy))
    return found


def _words(reason: object) -> str:
    if isinstance(reason, tuple):
        type_url, name = reason
        return f"it needs {discovery_service(type_url)} {name!r}, which is held back"
    return str(getattr(reason, "message", reason))
