"""Who is to blame for a NACK: resource names out of the words of Envoy.

The protocol has no field for it (xDS protocol: `error_detail` is free text), and one bad resource rejects a response of
many.
"""

import re
from collections.abc import Collection
from typing import Final

from dragoman.codec import SECRET

# "Error adding/updating listener(s) a: reason\nb: reason", and so for clusters (Envoy: lds_api.cc, cds_api_helper.cc)
_LISTED: Final = re.compile(r"Error adding/updating (?:listener|cluster)\(s\) ")
# Validation errors begin with a text dump of the resource, whose own name is its first name field.
_DUMPED: Final = re.compile(r'\A\s*goo\.gle/debug\w*\s[^"]*?\b(?:cluster_)?name: "((?:[^"\\]|\\.)*)"')
_DUMP: Final = re.compile(r"\A\s*goo\.gle/debug\w*\s.*\n: ", re.DOTALL)
_UNREASONED: Final = re.compile(r"\A\s*goo\.gle/debug")
# "Only unique values for domains are permitted. Duplicate entry of domain x in route r" (Envoy: config_impl.cc)
_ROUTE: Final = re.compile(r" in route (\S+)\Z")
_WORDS: Final = 2000


def words(type_url: str, message: str) -> str:
    """Return what an operator needs of the error: not the dump of the resource, whose reason comes after it.

    Envoy cuts errors to 4096 characters (Envoy: Utility::truncateGrpcStatusMessage), so that of a larger resource only
    the dump is left. Nothing of a secret's dump may be kept: it could hold the private key.
    """
    reason = _DUMP.sub("", message)
    if type_url == SECRET and reason is message and "goo.gle/debug" in message:
        return "the error quotes the secret and is not kept"
    if _UNREASONED.match(reason):
        return "it is not valid; the reason was cut off behind Envoy's dump of the resource, and is in the proxy's log"
    return reason[:_WORDS]


def culprits(message: str, names: Collection[str]) -> frozenset[str]:
    """Return those of the response's `names` that the error names as rejected; empty when it names none."""
    listed = _LISTED.search(message)
    if listed is not None:
        found = _prefixes(message[listed.end() :], names)
        if found:
            return found
    for pattern in (_DUMPED, _ROUTE):
        single = pattern.search(message)
        if single is not None and single.group(1) in names:
            return frozenset((single.group(1),))
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
