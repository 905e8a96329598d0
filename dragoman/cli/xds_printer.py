"""What `dragoman xds watch` prints of each response: lines for people, one document each for programs."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import yaml

from dragoman.cli.output import TableFormat, write
from dragoman.runtime.observer import discovery_service
from xds.watcher import Seen, Update


class Printer:
    """Prints updates; `shown` decides by name which resources are (None: all), `diff` adds what changed in them."""

    def __init__(self, style: TableFormat, shown: Callable[[str], bool] | None, *, diff: bool) -> None:
        self._style = style
        self._shown = shown or (lambda name: True)
        self._all = shown is None
        self._diff = diff

    def event(self, name: str, **fields: Any) -> None:
        """Print something that happened to the stream, for programs; people read of it on standard error."""
        if self._style is not TableFormat.table:
            self._write({"time": _now(), "event": name, **fields})

    def update(self, update: Update) -> None:
        """Print a response. One in which nothing is shown is left out, unless it was rejected."""
        added = [seen for seen in update.added if self._shown(seen.name)]
        changed = [pair for pair in update.changed if self._shown(pair[1].name)]
        gone = [name for name in update.removed if self._shown(name)]
        absent = [name for name in update.absent if self._shown(name)]
        if not (added or changed or gone or absent or update.rejected or self._all):
            return
        if self._style is TableFormat.table:
            self._lines(update, added, changed, gone, absent)
        else:
            self._write(_document(update, added, changed, gone, absent, diff=self._diff))
        sys.stdout.flush()

    def _lines(
        self, update: Update, added: list[Seen], changed: list[tuple[Seen, Seen]], gone: list[str], absent: list[str]
    ) -> None:
        say = sys.stdout.write
        service = discovery_service(update.type_url).upper()
        version = f" version {update.version}" if update.version and update.version != update.nonce else ""
        same = f", {update.unchanged} as before" if update.unchanged else ""
        verdict = "NACK" if update.error else "ACK"
        say(f"{_now()} {service} {verdict} nonce {update.nonce}{version}, {_size(update.size)}{same}\n")
        for seen in added:
            say(f"  + {seen.name} {seen.version} {_size(seen.size)}\n")
        for before, after in changed:
            say(f"  ~ {after.name} {before.version} -> {after.version} {_size(after.size)}\n")
            if self._diff:
                for line in _difference(before, after):
                    say(f"      {line}\n")
        for name in gone:
            say(f"  - {name}\n")
        for name in absent:
            say(f"  ? {name} does not exist\n")
        for seen in update.rejected:
            say(f"  ! {seen.name} {seen.version} rejected\n")

    def _write(self, document: dict[str, Any]) -> None:
        if self._style is TableFormat.json:
            # One line for each, so that programs need not wait for the end.
            sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
        else:
            sys.stdout.write("---\n")
            write(document, self._style)
        sys.stdout.flush()


def _document(
    update: Update,
    added: list[Seen],
    changed: list[tuple[Seen, Seen]],
    gone: list[str],
    absent: list[str],
    *,
    diff: bool,
) -> dict[str, Any]:
    return {
        "time": _now(),
        "event": "response",
        "type": discovery_service(update.type_url),
        "typeUrl": update.type_url,
        "nonce": update.nonce,
        "version": update.version,
        "bytes": update.size,
        "added": [_resource(seen) for seen in added],
        "changed": [
            _resource(after) | {"before": before.version} | ({"diff": list(_difference(before, after))} if diff else {})
            for before, after in changed
        ],
        "removed": gone,
        "absent": absent,
        "unchanged": update.unchanged,
        "rejected": [_resource(seen) for seen in update.rejected],
        "error": update.error,
    }


def _resource(seen: Seen) -> dict[str, Any]:
    return {"name": seen.name, "version": seen.version, "bytes": seen.size, "resource": seen.content}


def _difference(before: Seen, after: Seen) -> Iterator[str]:
    old, new = (yaml.safe_dump(json.loads(json.dumps(seen.content)), sort_keys=False) for seen in (before, after))
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=2)
    # Not the two lines that would name files.
    return (line for number, line in enumerate(lines) if number > 1)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _size(count: int) -> str:
    if count < 1 << 10:
        return f"{count} B"
    return f"{count / (1 << 10):.1f} KiB" if count < 1 << 20 else f"{count / (1 << 20):.1f} MiB"
