"""The proxies that are connected, and which of them a name means."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import typer

from dragoman.cli.inspect.replicas import Answer, Replica, Replicas
from dragoman.cli.output import fail

_RANDOM: Final = "[bcdfghjklmnpqrstvwxz2456789]"
"""What names that Kubernetes makes up consist of (Kubernetes: apimachinery, util/rand)."""

_DEPLOYMENT: Final = rf"-{_RANDOM}{{1,10}}-{_RANDOM}{{5}}"
_STATEFUL_SET: Final = r"-\d+"
_DAEMON_SET: Final = rf"-{_RANDOM}{{5}}"
_ENDINGS: Final = {
    "deployment": _DEPLOYMENT,
    "deploy": _DEPLOYMENT,
    "statefulset": _STATEFUL_SET,
    "sts": _STATEFUL_SET,
    "daemonset": _DAEMON_SET,
    "ds": _DAEMON_SET,
}
"""How the names of a workload's pods go on after its own."""


def named(wanted: str, namespace: str, known: Iterable[str], *, what: str = "connected proxy") -> str:
    """The one of these `POD.NAMESPACE` that a name means: the whole of it, without the namespace, or its beginning.

    A workload (`deployment/web`) means the first of its pods; any other kind is a usage error. Ends the command (exit
    code 1) where none fits, or more than one.
    """
    names = sorted(known)
    kind, slash, name = wanted.rpartition("/")
    in_namespace = [each for each in names if not namespace or each.endswith(f".{namespace}")]
    if kind in _ENDINGS:
        workload, _, of = name.partition(".")
        pods = re.compile(rf"{re.escape(workload)}{_ENDINGS[kind]}\.{re.escape(of) if of else '.*'}")
        found = [each for each in (names if of else in_namespace) if pods.fullmatch(each)][:1]
    elif slash and kind != "pod":
        raise typer.BadParameter(f"{wanted!r}: instead of a pod there may be {', '.join(_ENDINGS)}")
    else:
        whole = [each for each in names if each in (name, f"{name}.{namespace}")]
        near = whole or [each for each in in_namespace if each.startswith(name)]
        found = near or [each for each in names if each.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise fail(f"{wanted!r} may be any of {', '.join(found)}: give more of the name")
    there_are = f"there are {', '.join(names)}" if names else "there is none"
    raise fail(f"no {what} {wanted!r}; {there_are}")


def connected_to(answers: Iterable[Answer]) -> dict[str, Replica]:
    """Connected proxies, as `POD.NAMESPACE`, by the answers to `/debug/syncz`, and the replica of each."""
    return {status["proxy"]: answer.replica for answer in answers for status in answer.document}


async def find(found: Replicas, wanted: str) -> tuple[str, Replica]:
    """The proxy that a name means, and the replica that it is connected to; see `named`."""
    known = connected_to(await found.ask("/debug/syncz"))
    name = named(wanted, found.namespace, known)
    return name, known[name]
