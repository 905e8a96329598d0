"""Who called: the verified peer as the sidecar tells it in `x-forwarded-client-cert`.

Envoy documentation, "HTTP header manipulation": the header is a list of elements parted by commas, one per proxy that
was passed, the nearest last; an element is a list of `Key=value` parted by semicolons. Quoted values may hold both.
"""

import re

_QUOTED = r'"(?:\\.|[^"\\])*"'
_ELEMENT = re.compile(rf'(?:{_QUOTED}|[^,"])+')
_PAIR = re.compile(rf'(?:{_QUOTED}|[^;"])+')


def verified_caller(header: str) -> str | None:
    """The SPIFFE id of the peer whose certificate the own sidecar verified; None for a plaintext caller.

    Only the last element is read: what stands before it was said by proxies farther away.
    """
    elements = _ELEMENT.findall(header)
    for pair in _PAIR.findall(elements[-1]) if elements else ():
        key, _, value = pair.strip().partition("=")
        if key.lower() == "uri":
            return value.strip('"') or None
    return None
