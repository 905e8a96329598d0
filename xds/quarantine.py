"""Which versions are good, which were rejected, and what takes the place of the rejected."""

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from dragoman.codec import Ref
from xds.resource import Resource

MAX_REJECTIONS: Final = 4096
MAX_TRIAL: Final = 8


@dataclass(frozen=True, slots=True)
class Rejection:
    """A version that a proxy NACKed, and the proxy's words."""

    type_url: str
    name: str
    version: str
    message: str
    proxy: str
    at: float = field(default_factory=time.time, compare=False)
    """When, in seconds since the epoch: for people."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """A resource that is wanted but not served: rejected itself, or in need of one that is withheld."""

    wanted: Resource
    reason: Rejection | Ref
    good: Resource | None
    """The newest version that a proxy ACKed: served instead, if all that it needs still is."""


class Quarantine:
    """Rejected versions by content hash, so that going back to bad content stays rejected and a change lifts it."""

    __slots__ = ("_rejections",)

    def __init__(self) -> None:
        self._rejections: OrderedDict[tuple[str, str, str], Rejection] = OrderedDict()

    def add(self, rejection: Rejection) -> None:
        # The first word counts: others that had been sent the version, too, say the same later.
        self._rejections.setdefault((rejection.type_url, rejection.name, rejection.version), rejection)
        while len(self._rejections) > MAX_REJECTIONS:
            self._rejections.popitem(last=False)

    def find(self, resource: Resource) -> Rejection | None:
        if not self._rejections:
            return None
        return self._rejections.get((resource.type_url, resource.name, resource.version))

    def lift(self, resource: Resource) -> bool:
        """Take a version out of quarantine; return whether it was there."""
        return self._rejections.pop((resource.type_url, resource.name, resource.version), None) is not None

    def all(self) -> tuple[Rejection, ...]:
        return tuple(self._rejections.values())


class Trials:
    """Versions served but not yet ACKed by anybody, each with the last good one before it.

    A name without a trial is proven: what is served of it is its last good. Hence this is small when proxies are in
    sync, however large the view is.
    """

    __slots__ = ("_versions",)

    def __init__(self) -> None:
        # First the last good (None: there is none), then the versions tried since, oldest first.
        self._versions: dict[Ref, list[Resource | None]] = {}

    def __len__(self) -> int:
        return len(self._versions)

    def begin(self, good: Resource | None, new: Resource) -> None:
        """`new` is served from now on; `good` is the last good version before it."""
        versions = self._versions.setdefault(new.ref, [good])
        versions.append(new)
        if len(versions) > MAX_TRIAL:
            del versions[1]

    def accept(self, resource: Resource) -> None:
        """A proxy ACKed this version. One that is older than the last good changes nothing."""
        versions = self._versions.get(resource.ref)
        if versions is None:
            return
        for index in range(len(versions) - 1, 0, -1):
            if versions[index] is resource:
                del versions[:index]
                if len(versions) == 1:
                    del self._versions[resource.ref]
                return

    def last_good(self, ref: Ref, served: Resource) -> Resource | None:
        """Return the newest version that a proxy ACKed."""
        versions = self._versions.get(ref)
        return served if versions is None else versions[0]

    def newest(self) -> list[Resource]:
        """Return the versions on trial that are being served."""
        return [resource for versions in self._versions.values() if (resource := versions[-1]) is not None]

    def goods(self) -> list[Resource]:
        """Return the last good versions of the names on trial, as far as there are any."""
        return [good for versions in self._versions.values() if (good := versions[0]) is not None]

    def versions(self) -> list[Resource]:
        """Return all versions of the names on trial, the last good ones included."""
        return [resource for versions in self._versions.values() for resource in versions if resource is not None]

    def forget(self, ref: Ref) -> None:
        """The name is gone, or back at its last good version."""
        self._versions.pop(ref, None)
