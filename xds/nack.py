"""Who is to blame for a NACK: resource names out of the words of Envoy.

The protocol has no field for it (xDS protocol: `error_detail` is free text), and one bad resource rejects a response of
many.
"""

import re
from collections.abc import Collection
from typing import Final

# "Error adding/updating listener(s) a: reason\nb: reason", and so for clusters (Envoy: lds_api.cc, cds_api_helper.cc)
_LISTED: Final = re.compile(r"Error adding/updating (?:listener|cluster)\(s\) ")
# Validation errors end in a text dump of the resource, whose own name is its first name field.
_DUMPED: Final = re.compile(r'\b(?:cluster_)?name: "((?:[^"\\]|\\.)*)"')


def culprits(message: str, names: Collection[str]) -> frozenset[str]:
    """Return those of the response's `names` that the error names as rejected; empty when it names none."""
    listed = _LISTED.search(message)
    if listed is not None:
        found = _prefixes(message[listed.end() :], names)
        if found:
            return found
    dumped = _DUMPED.search(message)
    if dumped is not None and dumped.group(1) in names:
        return frozenset((dumped.group(1),))
    return frozenset()


def _prefixes(text: str, names: Collection[str]) -> frozenset[str]:
    """Return the names that stand at the beginning of an entry "NAME: reason"."""
    found = set()
    for name in names:
        at = text.find(f"{name}: ")
        while at > 0 and text[at - 1] not in "\n ,":
            at = text.find(f"{name}: ", at + 1)
        if at >= 0:
            found.add(name)
    return frozenset(found)
