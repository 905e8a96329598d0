"""`dragoman bug-report`: everything that somebody who helps wants to see, in one archive."""

from __future__ import annotations

import asyncio
import io
import tarfile
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import Annotated, Final, Self

import typer
import yaml

from dragoman.cli.inspect.bug_report_parts import Part, of_cluster, of_pod, of_proxy, of_replica
from dragoman.cli.inspect.proxies import connected_to, named
from dragoman.cli.inspect.redaction import redacted, redacted_text
from dragoman.cli.inspect.replicas import Replica, Replicas, replicas
from dragoman.cli.inspect.where import Where, located
from dragoman.cli.output import fail
from dragoman.cli.problems import tell

_AT_ONCE: Final = 4
"""Proxies that are asked at the same time."""


@located
def bug_report(
    file: Annotated[
        Path | None,
        typer.Option("-f", "--file", help="The archive to write.", show_default="dragoman-bug-report-TIME.tar.gz"),
    ] = None,
    proxy: Annotated[
        list[str] | None,
        typer.Option("--proxy", metavar="POD[.NAMESPACE]", help="A proxy to include; may be repeated."),
    ] = None,
    max_proxies: Annotated[
        int,
        typer.Option("--max-proxies", metavar="N", help="Include so many proxies at most, if none is named.", min=0),
    ] = 20,
    tail: Annotated[
        int, typer.Option("--tail", metavar="LINES", help="How many last lines of each log.", min=0)
    ] = 10_000,
    *,
    where: Where,
) -> None:
    """Pack versions, configuration, debug pages, logs and events into an archive to send to somebody who helps.

    Private keys, tokens, passwords and Secrets are left out or blotted out; the rest shows how the mesh is built, so
    look into it first. What could not be had is listed in it, under problems.txt. Only its owner can read the file.

    \b
    Examples:
      dragoman bug-report
      dragoman bug-report --proxy reviews-v1-abc.shop -f report.tar.gz
    \b
    Exit codes: 0 done, 1 no control plane, or the file cannot be written, 2 wrong usage.
    """
    target = file or Path(f"dragoman-bug-report-{datetime.now(UTC):%Y%m%d-%H%M%S}.tar.gz")
    asyncio.run(_pack(target, proxy or [], max_proxies, tail, where))


async def _pack(target: Path, proxies: list[str], max_proxies: int, tail: int, where: Where) -> None:
    async with replicas(where) as found:
        known = connected_to(await found.ask("/debug/syncz"))
        chosen = [named(each, found.namespace, known) for each in proxies] or sorted(known)[:max_proxies]
        if not proxies and len(known) > max_proxies:
            tell(f"the first {max_proxies} of {len(known)} proxies (--max-proxies, --proxy)")
        try:
            with _Archive(target) as archive:
                archive.add(Part("dragoman.txt", f"dragoman {installed('dragoman')}\n"))
                await _control_plane(archive, found, where.istio_namespace, tail)
                await _proxies(archive, found, {name: known[name] for name in chosen}, tail)
        except OSError as error:
            raise fail(f"cannot write {target}: {error.strerror or error}") from None
    tell(f"{archive.files} files, {len(archive.problems)} problems: {target}")
    for line in archive.problems:
        tell(f"warning: {line}")


async def _control_plane(archive: _Archive, found: Replicas, namespace: str, tail: int) -> None:
    for replica in found.all:
        tell(f"control plane: {replica.name}")
        await archive.take(of_replica(replica))
        if found.cluster is not None:
            folder = f"control-plane/{replica.name}"
            await archive.take(of_pod(found.cluster, namespace, replica.name, folder, tail))
    if found.cluster is not None:
        tell(f"cluster: {found.cluster.server}")
        await archive.take(of_cluster(found.cluster, namespace))


async def _proxies(archive: _Archive, found: Replicas, chosen: dict[str, Replica], tail: int) -> None:
    turns = asyncio.Semaphore(_AT_ONCE)

    async def take(name: str, replica: Replica) -> None:
        async with turns:
            tell(f"proxy: {name}")
            await archive.take(of_proxy(found, replica, name, tail))

    await asyncio.gather(*(take(name, replica) for name, replica in chosen.items()))


class _Archive:
    """A compressed archive that only its owner may read. Everything is redacted on its way in."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._stack = ExitStack()
        self._turn = asyncio.Lock()
        self.files = 0
        self.problems: list[str] = []

    def __enter__(self) -> Self:
        self._target.touch(mode=0o600)
        # It may have been there before, for all to read.
        self._target.chmod(0o600)
        self._tar = self._stack.enter_context(tarfile.open(self._target, "w:gz"))
        return self

    def __exit__(self, *_: object) -> None:
        self.add(Part("problems.txt", "".join(f"{line}\n" for line in self.problems)))
        self._stack.close()

    async def take(self, parts: AsyncIterator[Part]) -> None:
        async for part in parts:
            # What is large takes a while, in which others are asked.
            data = await asyncio.to_thread(_written, part)
            async with self._turn:
                await asyncio.to_thread(self._add, part, data)

    def add(self, part: Part) -> None:
        self._add(part, _written(part))

    def _add(self, part: Part, data: bytes) -> None:
        if part.problem:
            self.problems.append(redacted_text(f"{part.path}: {part.problem}"))
            return
        entry = tarfile.TarInfo(f"{self._target.name.removesuffix('.tar.gz')}/{part.path.lstrip('/')}")
        entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
        self._tar.addfile(entry, io.BytesIO(data))
        self.files += 1


def _written(part: Part) -> bytes:
    """The file, with every secret blotted out."""
    if isinstance(part.content, str):
        return redacted_text(part.content).encode()
    return yaml.safe_dump(redacted(part.content), sort_keys=False, allow_unicode=True).encode()
