"""How YAML that any operator may write asks for a poisoned resource: by a word, or by a timeout.

The word `poison-NAME` is looked for in what was made of the YAML: a header of a route, a path of a policy, a remark
above a certificate. A cluster has no text of its author's; there it is the nanoseconds of the connect timeout.
"""

import re

from dragoman.codec import CLUSTER, Encoded, decode

TIMEOUTS = {"pgv": 1_000_000, "unknown-extension": 2_000_000}
"""Nanoseconds of the connect timeouts that ask for a poison: 6.001s, 6.002s."""

_WORD = re.compile(rb"poison-([a-z-]+)")


def poison_of(encoded: Encoded) -> str | None:
    """The name of the poison that a resource asks for; None if it asks for none."""
    if encoded.type_url == CLUSTER:
        nanoseconds = decode(CLUSTER, encoded.payload).connect_timeout.nanos
        return next((name for name, asks in TIMEOUTS.items() if asks == nanoseconds), None)
    found = _WORD.search(encoded.payload)
    return found[1].decode() if found else None
