"""The syntax of annotations' values: each check says what is wrong with a text, or None."""

from __future__ import annotations

import ipaddress
import itertools
import json
import re
from collections.abc import Callable, Collection, Iterator
from typing import Final

from crds.duration import Duration
from dragoman.sidecar.address import SocketAddress, parse_address

Check = Callable[[str], str | None]

# Kubernetes API: resource.Quantity.
_QUANTITY: Final = re.compile(r"\+?(\d+\.?\d*|\.\d+)([eE][+-]?\d+|[KMGTPE]i|[numkMGTPE])?", re.ASCII)
_DNS_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", re.ASCII)
_LEVELS: Final = ("trace", "debug", "info", "warning", "warn", "error", "critical", "off")


def items(text: str) -> tuple[str, ...]:
    """The items of a list with commas, without the blanks around them and without empty ones."""
    return tuple(item for item in (part.strip() for part in text.split(",")) if item)


def one_of(*values: str) -> Check:
    """One of these, written exactly so."""
    return lambda text: None if text in values else f"{text!r} is none of {', '.join(values)}"


boolean: Final = one_of("true", "false")
log_level: Final = one_of(*_LEVELS)


def anything(_: str) -> None:
    """Every text will do."""


def filled(text: str) -> str | None:
    """Not empty."""
    return None if text.strip() else "it is empty"


def name(text: str) -> str | None:
    """The name of an object of Kubernetes."""
    return None if _DNS_NAME.fullmatch(text) else f"{text!r} is no name of an object"


def natural(text: str) -> str | None:
    """An integer from 0."""
    return None if text.isascii() and text.isdecimal() and int(text) < 2**31 else f"{text!r} is no whole number from 0"


def port(text: str) -> str | None:
    """A port, or 0."""
    return None if text.isascii() and text.isdecimal() and int(text) < 2**16 else f"{text!r} is no port"


def ports(text: str) -> str | None:
    """A list of ports."""
    return _first(port(item) for item in items(text))


def ports_or_all(text: str) -> str | None:
    """A list of ports, or `*`."""
    return None if text.strip() == "*" else ports(text)


def ranges(text: str) -> str | None:
    """A list of CIDR blocks."""
    return _first(_range(item) for item in items(text))


def ranges_or_all(text: str) -> str | None:
    """A list of CIDR blocks, or `*`."""
    return None if text.strip() == "*" else ranges(text)


def _range(text: str) -> str | None:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return f"{text!r} is no CIDR block"
    return None if "/" in text else f"{text!r} is no CIDR block: it has no prefix length"


def interfaces(text: str) -> str | None:
    """A list of network interfaces (Linux: at most 15 bytes; without blanks or slashes)."""
    wrong = (item for item in items(text) if len(item.encode()) > 15 or re.search(r"[\s/]", item))
    return _first(f"{item!r} is no network interface" for item in wrong)


def quantity(text: str) -> str | None:
    """An amount of CPU or memory."""
    return None if _QUANTITY.fullmatch(text) else f"{text!r} is no quantity such as 100m, 0.5 or 128Mi"


def address(text: str) -> str | None:
    """`host:port`."""
    try:
        return None if isinstance(parse_address(text), SocketAddress) else f"{text!r} is not host:port"
    except ValueError as error:
        return str(error)


def duration(text: str) -> str | None:
    """A duration of at least a millisecond (Envoy's resolution)."""
    try:
        return None if Duration.parse(text) >= Duration(milliseconds=1) else f"{text!r} is shorter than 1ms"
    except ValueError as error:
        return str(error)


def component_levels(text: str) -> str | None:
    """`component:level` with commas between."""
    pairs = (item.partition(":") for item in items(text))
    wrong = ((part, level) for part, _, level in pairs if not part or log_level(level))
    return _first(f"{part}:{level} is not component:level" for part, level in wrong)


def json_map(text: str) -> str | None:
    """A JSON object whose values are objects."""
    found = _json_object(text)
    if found is None or not all(isinstance(value, dict) for value in found.values()):
        return "it is no JSON object of objects"
    return None


def buckets(text: str) -> str | None:
    """A JSON object of lists of rising numbers, of prefixes of histograms' names."""
    found = _json_object(text)
    if found is None or not all(_rising(value) for value in found.values()):
        return "it is no JSON object of lists of rising numbers"
    return None


def bins(text: str) -> str | None:
    """A JSON object of positive integers, of prefixes of histograms' names (Envoy: at most 46080)."""
    found = _json_object(text)
    if found is None or not all(type(value) is int and 0 < value <= 46080 for value in found.values()):
        return "it is no JSON object of whole numbers from 1 to 46080"
    return None


def among(known: Collection[str]) -> Check:
    """A list, not empty, of these."""

    def check(text: str) -> str | None:
        wanted = items(text)
        if not wanted:
            return "it is empty"
        unknown = sorted(set(wanted) - set(known))
        return f"there is no {', '.join(unknown)} (there is {', '.join(sorted(known))})" if unknown else None

    return check


def _rising(value: object) -> bool:
    if not isinstance(value, list) or not value:
        return False
    numbers = all(type(bound) in (int, float) and bound > 0 for bound in value)
    return numbers and all(low < high for low, high in itertools.pairwise(value))


def _json_object(text: str) -> dict[str, object] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _first(wrong: Iterator[str | None]) -> str | None:
    return next((text for text in wrong if text is not None), None)
