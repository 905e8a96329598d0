"""JSON Patch as an API server applies it (RFC 6902): the operations that injection uses."""

import copy
import json
from typing import Any


def patched(document: Any, patch: list[dict[str, Any]]) -> Any:
    """The document with the operations applied in order; anything that does not fit is an error."""
    document = json.loads(json.dumps(document))  # parts that are one object here are none in JSON
    for operation in patch:
        *path, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]] or [""]
        place = document
        for part in path:
            place = place[int(part)] if isinstance(place, list) else place[part]
        value = copy.deepcopy(operation.get("value"))
        match operation["op"], place:
            case "replace", _ if operation["path"] == "":
                document = value
            case "add", list():
                assert 0 <= int(last) <= len(place)
                place.insert(int(last), value)
            case "add", dict():
                assert last not in place
                place[last] = value
            case "replace", list():
                place[int(last)] = value
            case "replace", dict():
                assert last in place
                place[last] = value
            case "remove", list():
                del place[int(last)]
            case "remove", dict():
                del place[last]
            case _:
                raise AssertionError(operation)
    return document
