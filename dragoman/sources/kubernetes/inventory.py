"""What a cluster holds, and what of it is in force: the namespaces that are selected, the objects of our revision, the
last good version of what is broken. Pure.

Whatever happened since the last `batch` is one batch: what came and went meanwhile was never there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from crds.kubernetes.configmap import ConfigMap
from crds.kubernetes.namespace import Namespace
from crds.labelselector import LabelSelector
from crds.meshconfig import CONFIG_KEY, CONFIG_MAP, MeshConfig, parse
from crds.meta import IstioObject, ObjectKey, ObjectMeta
from crds.problem import Problem, Severity
from crds.registry import KINDS, Kind
from dragoman.sources.change import Batch, Change, Report
from dragoman.sources.ingresses import Ingresses
from dragoman.sources.kubernetes.judgement import Object, Verdict, judge
from dragoman.sources.kubernetes.references import References
from dragoman.sources.kubernetes.reflector import Delta

REVISION: Final = "istio.io/rev"
_SETTINGS: Final = ObjectKey("ConfigMap", *CONFIG_MAP)
_REFERRED_TO: Final = frozenset(("Secret", "ConfigMap", "ClusterTrustBundle"))
"""Kinds of which only what others refer to is in force."""


class _Header(msgspec.Struct):
    metadata: ObjectMeta


_HEADERS: Final = msgspec.json.Decoder(_Header)


class Inventory:
    """The objects of a cluster, as a control plane of a revision sees them.

    `settings` names the ConfigMap with the mesh settings: namespace and name. It is in force under the name that the
    mesh knows it by. An empty `revision` takes in the objects of every one.
    """

    def __init__(self, settings: tuple[str, str] = CONFIG_MAP, revision: str = "") -> None:
        self._settings = ObjectKey("ConfigMap", *settings)
        self._revision = revision
        self._held: dict[ObjectKey, Object] = {}
        self._problems: dict[ObjectKey, tuple[Problem, ...]] = {}
        self._in_force: dict[ObjectKey, Object] = {}
        self._touched: set[ObjectKey] = set()
        self._untold: set[ObjectKey] = set()
        """Of which there is something else to say than before."""
        self._judged: set[ObjectKey] = set()
        """Of which the same may be said, but of a newer version."""
        self._broken: dict[ObjectKey, ObjectMeta] = {}
        """The newest versions that are no use."""
        self._selected: frozenset[str] | None = None
        """The namespaces whose objects count; None for all."""
        self._references = References()
        self._ingresses = Ingresses()

    @property
    def objects(self) -> Mapping[ObjectKey, Object]:
        """The objects in force, as of the last batch."""
        return MappingProxyType(self._in_force)

    @property
    def referred_to(self) -> frozenset[ObjectKey]:
        """Secrets, ConfigMaps and ClusterTrustBundles that objects in force refer to, there or not."""
        return self._references.keys

    def __bool__(self) -> bool:
        """Whether anything has happened since the last batch."""
        return bool(self._touched or self._untold or self._judged)

    def take(self, kind: Kind, deltas: Iterable[Delta]) -> None:
        """Take in objects of a kind as they are now."""
        for delta in deltas:
            key = self._key(ObjectKey(kind.__name__, *delta.name))
            if key is None:
                continue
            verdict = Verdict(None, ()) if delta.data is None else judge(kind, delta.data, key)
            if verdict.problems != self._problems.get(key, ()):
                self._untold.add(key)
                self._note(key, verdict.problems)
            self._note_broken(key, delta.data if verdict.object is None else None)
            if delta.data is None:
                self._held.pop(key, None)
                self._touched.add(key)
            elif verdict.object is not None and verdict.object != self._held.get(key):
                self._held[key] = verdict.object
                self._touched.add(key)

    def batch(self) -> Batch:
        """What has changed since the last batch; empty if nothing has."""
        touched, self._touched = self._touched, set()
        if any(key == _SETTINGS or key.kind == "Namespace" for key in touched):
            moved = self._reselect()
            touched |= moved
            self._untold |= moved & self._problems.keys()
        extended = self._ingresses.extended(Batch(tuple(self._changes(touched))), self._in_force)
        changes = extended.changes
        before = self._references.keys
        self._references.follow(changes, self._in_force)
        if named := before ^ self._references.keys:
            changes = (*changes, *self._changes(named & self._held.keys()))
        untold, self._untold = self._untold, set()
        judged, self._judged = self._judged | untold, set()
        reports = (*extended.reports, *(report for key in sorted(untold) for report in self._reports(key)))
        return Batch(tuple(sorted(changes, key=lambda change: change.key)), reports, extended.judged | judged)

    def reports(self) -> tuple[Report, ...]:
        """Everything that is to be said of the objects as they are."""
        reports = (report for key in sorted(self._problems) for report in self._reports(key))
        return (*reports, *self._ingresses.reports())

    def reports_of(self, key: ObjectKey) -> tuple[Report, ...]:
        """What is to be said of one object as it is."""
        return (*self._reports(key), *self._ingresses.reports_of(key))

    def metadata(self, key: ObjectKey) -> ObjectMeta | None:
        """What the newest version of an object says of itself, broken or not; None where there is none, or not ours."""
        if not self._counts(key):
            return None
        held = self._held.get(key)
        return self._broken.get(key) or (None if held is None else held.metadata)

    def location(self, key: ObjectKey) -> str | None:
        """Where the author of an object finds it, if that is not what it is called."""
        if key == _SETTINGS != self._settings:
            return str(self._settings)
        ingress = self._ingresses.origin(key)
        return None if ingress is None else str(ingress)

    def _key(self, key: ObjectKey) -> ObjectKey | None:
        """What the mesh calls an object; None for one whose name is taken by its settings."""
        if key == self._settings:
            return _SETTINGS
        return None if key == _SETTINGS else key

    def _note(self, key: ObjectKey, problems: tuple[Problem, ...]) -> None:
        if problems:
            self._problems[key] = problems
        else:
            self._problems.pop(key, None)

    def _note_broken(self, key: ObjectKey, data: msgspec.Raw | None) -> None:
        before = self._broken.pop(key, None)
        if data is not None:
            self._broken[key] = _HEADERS.decode(data).metadata
        if before != self._broken.get(key):
            self._judged.add(key)

    def _reports(self, key: ObjectKey) -> Iterator[Report]:
        if self._counts(key):
            for each in self._problems.get(key, ()):
                kept = each.severity is Severity.ERROR and key in self._held
                yield Report("", 0, key, each, kept)

    def _changes(self, touched: Iterable[ObjectKey]) -> Iterator[Change]:
        for key in touched:
            was = self._in_force.get(key)
            now = self._held.get(key) if self._counts(key) else None
            if was != now:
                if now is None:
                    del self._in_force[key]
                else:
                    self._in_force[key] = now
                yield Change(key, was, now)

    def _counts(self, key: ObjectKey) -> bool:
        """Whether an object has a part in this mesh, if it is good."""
        if key == _SETTINGS or not key.namespace:
            return key.kind not in _REFERRED_TO or key == _SETTINGS or key in self._references.keys
        if key.kind in _REFERRED_TO and key not in self._references.keys:
            return False
        if self._selected is not None and key.namespace not in self._selected:
            return False
        return self._of_revision(key)

    def _of_revision(self, key: ObjectKey) -> bool:
        """Istio: pkg/config/model.go, LabelsInRevision: what is not labelled belongs to every revision."""
        if not self._revision or not issubclass(KINDS[key.kind], IstioObject):
            return True
        obj = self._held.get(key)
        return obj is None or obj.metadata.labels.get(REVISION, self._revision) == self._revision

    def _reselect(self) -> set[ObjectKey]:
        """Select namespaces anew; the objects whose namespace that takes in or leaves out."""
        before, self._selected = self._selected, self._selection()
        if before == self._selected:
            return set()
        return {
            key
            for key in self._held.keys() | self._problems.keys()
            if (before is None or key.namespace in before)
            != (self._selected is None or key.namespace in self._selected)
        }

    def _selection(self) -> frozenset[str] | None:
        selectors = self._selectors()
        if not selectors:
            return None
        return frozenset(
            obj.name
            for obj in self._held.values()
            if isinstance(obj, Namespace) and any(each.matches(obj.metadata.labels) for each in selectors)
        )

    def _selectors(self) -> tuple[LabelSelector, ...]:
        settings = self._held.get(_SETTINGS)
        if not isinstance(settings, ConfigMap) or CONFIG_KEY not in settings.data:
            return MeshConfig().discovery_selectors
        return parse(settings.data[CONFIG_KEY]).discovery_selectors
