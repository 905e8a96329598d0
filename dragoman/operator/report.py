"""What one replica tells the others of its proxies, as text for an annotation. Pure.

Every object that the replica has taken in is named with its version, used or not: what is not in a report, or with
another version, has yet to arrive there.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from crds.meta import ObjectKey, ObjectMeta
from dragoman.runtime.programmed import Programmed, Rejection

LONGEST: Final = 240 << 10
"""Bytes of a report: the annotations of an object may have 256 KiB together (Kubernetes: TotalAnnotationSizeLimitB).
That is enough for ten thousand objects."""

_WORDS: Final = 300
"""Characters of Envoy's words: the replica's own log has the rest."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of one object. `version` is that in force."""

    version: str
    programmed: Programmed


@dataclass(frozen=True, slots=True)
class Report:
    """The objects that a replica has taken in."""

    objects: Mapping[ObjectKey, Told] = field(default_factory=dict)
    silent: bool = False
    """There are too many to be told: what is not in here says nothing."""


def version_of(metadata: ObjectMeta) -> str:
    """A name for one version of an object, that no other of the same name has had before."""
    return f"{metadata.uid[:8]}.{metadata.generation}"


def encoded(report: Report) -> str:
    """As text; a silent one where that would be too long for an annotation."""
    entries = {"/".join(key): _entry(told) for key, told in sorted(report.objects.items())}
    text = base64.b85encode(zlib.compress(msgspec.json.encode([report.silent, entries]))).decode()
    return text if len(text) <= LONGEST else encoded(Report(silent=True))


def decoded(text: str) -> Report:
    """The report in a text. Raises ValueError for one that is none, such as of a control plane of another version."""
    try:
        data = zlib.decompress(base64.b85decode(text))
        silent, entries = msgspec.json.decode(data, type=tuple[bool, dict[str, list[Any]]])
        return Report({ObjectKey(*key.split("/")): _told(entry) for key, entry in entries.items()}, silent)
    except (ValueError, zlib.error, msgspec.MsgspecError, TypeError) as error:
        raise ValueError(f"not a report: {error}") from None


def _entry(told: Told) -> list[Any]:
    found = told.programmed
    entry: list[Any] = [told.version, found.proxies, found.accepted]
    if not found.complete:
        rejections = [
            [each.type, each.name, each.message[:_WORDS], list(each.proxies), each.at_fault]
            for each in found.rejections
        ]
        entry += [list(found.waiting), rejections, [words[:_WORDS] for words in found.failures]]
    return entry


def _told(entry: list[Any]) -> Told:
    version, proxies, accepted, *rest = entry
    waiting, rejections, failures = rest or ((), (), ())
    return Told(
        version,
        Programmed(
            proxies,
            accepted,
            tuple(waiting),
            tuple(Rejection(type_, name, words, tuple(who), fault) for type_, name, words, who, fault in rejections),
            tuple(failures),
        ),
    )
