"""`dragoman wait`: until objects are in force, or at every proxy that uses them."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from crds.meta import ObjectKey
from crds.registry import ISTIO_KINDS
from dragoman.cli.debug_client import NoAnswerError, fetch
from dragoman.cli.durations import duration
from dragoman.cli.inspect.where import DEBUG_ADDRESS, Where, located
from dragoman.cli.output import TableFormat, fail, write
from dragoman.cli.problems import tell
from dragoman.cli.progress import progress
from dragoman.cli.waiting import (
    NOT_THERE,
    Found,
    Goal,
    State,
    Wanted,
    find_kind,
    objects_in,
    on_object,
    on_page,
)
from dragoman.sources.folder import Tree
from dragoman.sources.yaml_documents import DocumentError

TIMED_OUT: Final = 3
_LOOK_EVERY: Final = 0.25
_AT_ONCE: Final = 10
"""Objects asked for at the same time."""

Look = Callable[[Wanted, Goal], Awaitable[Found]]


@located
def wait(
    objects: Annotated[
        list[str] | None, typer.Argument(metavar="[KIND NAME | KIND/NAME...]", help="What to wait for.")
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option("-f", "--filename", metavar="FILE", help="Files or folders of YAML that hold it; - for stdin."),
    ] = None,
    goal: Annotated[Goal, typer.Option("--for", help="How far it is to come.")] = Goal.programmed,
    timeout: Annotated[str, typer.Option("--timeout", metavar="DURATION", help="How long to wait.")] = "30s",
    output: Annotated[TableFormat, typer.Option("-o", "--output", help="How to print the end.")] = TableFormat.table,
    *,
    where: Where,
) -> None:
    """Wait until objects of Istio's API are accepted, or programmed: accepted by every connected proxy that uses them.

    In a cluster the status of the objects is read, which the control plane writes; without one, what `dragoman serve`
    says. Only the newest version counts: in a cluster by its generation, without one by the content of the file. An
    object that is invalid, or that an Envoy rejects, is not waited for. One that no proxy uses is programmed.

    \b
    Examples:
      kubectl apply -f routes.yaml && dragoman wait -f routes.yaml
      dragoman wait VirtualService reviews -n shop --for accepted --timeout 5s
      dragoman wait vs/reviews dr/reviews -o json
    \b
    Exit codes: 0 all are, 1 one will not be, or there is no control plane, 2 wrong usage, 3 not in time.
    """
    if bool(objects) == bool(file):
        raise typer.BadParameter("say either what to wait for, or -f FILE")
    seconds = duration(timeout).total_seconds()
    raise SystemExit(asyncio.run(_run(objects or [], file or [], goal, seconds, output, where)))


async def _run(
    objects: list[str], files: list[Path], goal: Goal, seconds: float, output: TableFormat, where: Where
) -> int:
    async with _looking(where) as (look, namespace):
        wanted = list(dict.fromkeys((*_named(objects, namespace), *_in_files(files, namespace))))
        if not wanted:
            raise typer.BadParameter("there is no object of Istio's API in these files")
        found = await _until(wanted, goal, seconds, look, quiet=output is not TableFormat.table)
    if output is not TableFormat.table:
        write([_entry(each, found[each]) for each in wanted], output)
    states = {each.state for each in found.values()}
    if State.REFUSED in states:
        return 1
    return TIMED_OUT if State.WAITING in states else 0


async def _until(wanted: list[Wanted], goal: Goal, seconds: float, look: Look, *, quiet: bool) -> dict[Wanted, Found]:
    """Look until each is there or will not be, or the time is over; tell of each as it comes."""
    end = time.monotonic() + seconds
    found: dict[Wanted, Found] = {}
    waiting = list(wanted)
    with progress(f"waiting for {len(wanted)} object{'s' if len(wanted) > 1 else ''} to be {goal}"):
        while True:
            for start in range(0, len(waiting), _AT_ONCE):
                part = waiting[start : start + _AT_ONCE]
                found |= zip(part, await asyncio.gather(*(look(each, goal) for each in part)), strict=True)
            for each in waiting:
                if found[each].state is not State.WAITING and not quiet:
                    _tell(each, goal, found[each])
            waiting = [each for each in waiting if found[each].state is State.WAITING]
            if not waiting or time.monotonic() >= end:
                break
            await asyncio.sleep(min(_LOOK_EVERY, max(0.0, end - time.monotonic())))
    for each in waiting if not quiet else ():
        tell(f"error: {each.key} is not {goal} after {seconds:g} s: {found[each].message}")
    return found


def _tell(wanted: Wanted, goal: Goal, found: Found) -> None:
    if found.state is State.DONE:
        typer.echo(f"{wanted.key} is {goal}: {found.message}")
    else:
        tell(f"error: {wanted.key} is not {goal}: {found.message}")


def _entry(wanted: Wanted, found: Found) -> dict[str, Any]:
    return {
        **wanted.key._asdict(),
        "met": found.state is State.DONE,
        "reason": found.reason,
        "message": found.message,
    }


def _named(objects: list[str], namespace: str) -> Iterator[Wanted]:
    """`KIND NAME…`, or `KIND/NAME…`, as kubectl has it."""
    if not objects:
        return
    pairs = [word.partition("/") for word in objects]
    if all(slash for _, slash, _ in pairs):
        named = [(kind, name) for kind, _, name in pairs]
    elif any(slash for _, slash, _ in pairs) or len(objects) < 2:
        raise typer.BadParameter("say KIND NAME, or KIND/NAME for each object")
    else:
        named = [(objects[0], name) for name in objects[1:]]
    for kind, name in named:
        known = find_kind(kind)
        if known is None:
            raise typer.BadParameter(f"no kind {kind!r}; there are {', '.join(ISTIO_KINDS)}")
        yield Wanted(ObjectKey(known, namespace, name))


def _in_files(files: list[Path], namespace: str) -> Iterator[Wanted]:
    for path in files:
        try:
            for part in Tree(path).files if path.is_dir() else (path,):
                data = sys.stdin.buffer.read() if str(part) == "-" else part.read_bytes()
                yield from objects_in(data, json=part.suffix == ".json", namespace=namespace)
        except OSError as error:
            raise fail(f"cannot read {path}: {error.strerror or error}") from None
        except DocumentError as error:
            raise fail(f"{path} is no YAML: {error}") from None


@asynccontextmanager
async def _looking(where: Where) -> AsyncGenerator[tuple[Look, str], None]:
    """How to look for an object, and the namespace of those that name none."""
    if where.address is not None or not where.cluster_is_configured:
        yield _at_server(where), where.namespace or "default"
        return
    # Its client takes half a second to import.
    from dragoman.kube import Cluster, ConnectionConfigError

    try:
        cluster = await Cluster.connect(where.kubeconfig, where.context)
    except ConnectionConfigError as error:
        raise fail(f"no cluster: {error}") from None
    async with cluster:
        yield await _in_cluster(cluster), where.namespace or cluster.namespace


def _at_server(where: Where) -> Look:
    address = where.address or DEBUG_ADDRESS

    async def look(wanted: Wanted, goal: Goal) -> Found:
        try:
            asked = wanted.key._asdict()
            entries = await asyncio.to_thread(fetch, address, "/debug/statusz", token=where.token, **asked)
        except NoAnswerError as error:
            raise fail(str(error)) from None
        return on_page(entries[0], goal, wanted) if entries else NOT_THERE

    return look


async def _in_cluster(cluster: Any) -> Look:
    from dragoman.kube import ApiError
    from dragoman.sources.kubernetes.served import served

    try:
        resources = await served(cluster, tuple(ISTIO_KINDS.values()))
    except ApiError as error:
        raise fail(str(error)) from None
    by_name = {kind.__name__: resource for kind, resource in resources.items()}

    async def look(wanted: Wanted, goal: Goal) -> Found:
        kind, namespace, name = wanted.key
        if kind not in by_name:
            raise fail(f"{cluster.server} does not know the kind {kind}")
        try:
            return on_object(await cluster.get(by_name[kind], name, namespace), goal)
        except ApiError as error:
            if error.not_found:
                return NOT_THERE
            if error.unavailable:
                return Found(State.WAITING, "Unavailable", str(error))
            raise fail(str(error)) from None

    return look
