"""The difference of two JSON documents as a JSON Patch (RFC 6902)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dragoman.sidecar.injection.settings import Json


def difference(old: Json, new: Json) -> list[dict[str, Json]]:
    """The operations that make `new` of `old`, to be applied in order; none for equal documents."""
    return list(_between(old, new, ""))


def _between(old: Json, new: Json, path: str) -> Iterator[dict[str, Json]]:
    if old == new and type(old) is type(new):
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in old:
            if key not in new:
                yield {"op": "remove", "path": f"{path}/{_escaped(key)}"}
        for key, value in new.items():
            where = f"{path}/{_escaped(key)}"
            if key in old:
                yield from _between(old[key], value, where)
            else:
                yield {"op": "add", "path": where, "value": value}
    elif isinstance(old, list) and isinstance(new, list):
        yield from _between_lists(old, new, path)
    else:
        yield {"op": "replace", "path": path, "value": new}


def _between_lists(old: list[Json], new: list[Json], path: str) -> Iterator[dict[str, Json]]:
    """What the ends have in common stays; in between, items change in place where both have one of the same name."""
    start = 0
    while start < min(len(old), len(new)) and _same(old[start], new[start]):
        yield from _between(old[start], new[start], f"{path}/{start}")
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and _same(old[-1 - end], new[-1 - end]):
        end += 1
    for index in reversed(range(start, len(old) - end)):
        yield {"op": "remove", "path": f"{path}/{index}"}
    for index in range(start, len(new) - end):
        yield {"op": "add", "path": f"{path}/{index}", "value": new[index]}
    for back in range(end, 0, -1):
        yield from _between(old[-back], new[-back], f"{path}/{len(new) - back}")


def _same(old: Json, new: Json) -> bool:
    """Whether `new` is the item `old`, changed or not: containers, volumes and variables go by their names."""
    if isinstance(old, Mapping) and isinstance(new, Mapping) and "name" in old and "name" in new:
        return bool(old["name"] == new["name"])
    return bool(old == new) and type(old) is type(new)


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
