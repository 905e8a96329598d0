"""The proxies that are connected, and which of them a name means."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dragoman.cli.inspect.replicas import Answer, Replica, Replicas
from dragoman.cli.output import fail

_OF_A_POD: Final = "pod/"
_OF_A_WORKLOAD: Final = ("deployment/", "deploy/", "statefulset/", "sts/", "daemonset/", "ds/")


def named(wanted: str, namespace: str, known: Iterable[str], *, what: str = "connected proxy") -> str:
    """The one of these `POD.NAMESPACE` that a name means: the whole of it, without the namespace, or its beginning.

    A workload (`deployment/web`) means the first of its pods. Ends the command (exit code 1) where none fits, or more
    than one.
    """
    names = sorted(known)
    kind = next((kind for kind in _OF_A_WORKLOAD if wanted.startswith(kind)), "")
    name = wanted.removeprefix(kind or _OF_A_POD)
    in_namespace = [each for each in names if not namespace or each.endswith(f".{namespace}")]
    if kind:
        workload, _, of = name.partition(".")
        place = [each for each in names if each.endswith(f".{of}")] if of else in_namespace
        found = [each for each in place if each.startswith(f"{workload}-")][:1]
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
