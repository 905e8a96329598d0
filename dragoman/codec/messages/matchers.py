"""Generic matchers and inputs over addresses, server names, numbers and CEL.

Sources: cncf/xds xds/type/matcher/v3/{ip,domain,range,cel,http_inputs}.proto and xds/type/v3/range.proto.
"""

import betterproto2
from envoy_data_plane.message_pool import default_message_pool
from envoy_data_plane.xds.core.v3 import CidrRange
from envoy_data_plane.xds.type.matcher.v3 import MatcherOnMatch
from envoy_data_plane.xds.type.v3 import CelExpression
from pydantic.dataclasses import dataclass


@dataclass(eq=False, repr=False, config={"extra": "forbid"})
class IpMatcher(betterproto2.Message):
    """A trie of CIDR ranges: the most specific range that matches wins."""

    range_matchers: "list[IpMatcherIpRangeMatcher]" = betterproto2.field(1, betterproto2.TYPE_MESSAGE, repeated=True)


@dataclass(eq=False, repr=False, config={"extra": "forbid"})
class IpMatcherIpRangeMatcher(betterproto2.Message):
    """What happens for some CIDR ranges; `exclusive` stops the search when the nested matcher finds nothing."""

    ranges: "list[CidrRange]" = betterproto2.field(1, betterproto2.TYPE_MESSAGE, repeated=True)
    on_match: "MatcherOnMatch | None" = betterproto2.field(2, betterproto2.TYPE_MESSAGE, optional=True)
    exclusive: "bool" = betterproto2.field(3, betterproto2.TYPE_BOOL)


@dataclass(eq=False, repr=False, config={"extra": "forbid"})
class ServerNameMatcher(betterproto2.Message):
    """Matches host names, exact before the longest wildcard ("*.example.com") before "*"."""

    domain_matchers: "list[ServerNameMatcherDomainMatcher]" = betterproto2.field(
        1, betterproto2.TYPE_MESSAGE, repeated=True
    )


@dataclass(eq=False, repr=False, config={"extra": "forbid"})
class ServerNameMatcherDomainMatcher(betterproto2.Message):
    """What happens for some host names."""

    domains: "list[str]" = betterproto2.field(1, betterproto2.TYPE_STRING, repeated=True)
    on_match: "MatcherOnMatch | None" = betterproto2.field(2, betterproto2.TYPE_MESSAGE, optional=True)


@dataclass(eq=False, repr=False, config={"extra": "forbid"})
class Int64Range(betterproto2.Message):
    """From `start`, included, to `end`, excluded."""

    start: "int" = betterproto2.field(1, betterproto2.TYPE_INT64)
    end: "int" = betterproto2.field(2, betterproto2.TYPE_INT64)


@dataclass(eq=False, repr=False, config={"extra": "forbid"})
class Int32Range(betterproto2.Message):
    """From `start`, included, to `end`, excluded."""

    start: "int" = betterproto2.field(1, betterproto2.TYPE_INT32)
    end: "int" = betterproto2.field(2, betterproto2.TYPE_INT32)


@dataclass(eq=False, repr=False, config={"extra": "forbid"})
class DoubleRange(betterproto2.Message):
    """From `start`, included, to `end`, excluded."""

    start: "float" = betterproto2.field(1, betterproto2.TYPE_DOUBLE)
    end: "float" = betterproto2.field(2, betterproto2.TYPE_DOUBLE)


@dataclass(eq=False, repr=False, config={"extra": "forbid"})
class Int64RangeMatcher(betterproto2.Message):
    """Matches a 64-bit integer against ranges; the first that contains it wins."""

    range_matchers: "list[Int64RangeMatcherRangeMatcher]" = betterproto2.field(
        1, betterproto2.TYPE_MESSAGE, repeated=True
    )


@dataclass(eq=False, repr=False, config={"extra": "forbid"})
class Int64RangeMatcherRangeMatcher(betterproto2.Message):
    """What happens for some ranges."""

    ranges: "list[Int64Range]" = betterproto2.field(1, betterproto2.TYPE_MESSAGE, repeated=True)
    on_match: "MatcherOnMatch | None" = betterproto2.field(2, betterproto2.TYPE_MESSAGE, optional=True)


@dataclass(eq=False, repr=False, config={"extra": "forbid"})
class Int32RangeMatcher(betterproto2.Message):
    """Matches a 32-bit integer against ranges; the first that contains it wins."""

    range_matchers: "list[Int32RangeMatcherRangeMatcher]" = betterproto2.field(
        1, betterproto2.TYPE_MESSAGE, repeated=True
    )


@dataclass(eq=False, repr=False, config={"extra": "forbid"})
class Int32RangeMatcherRangeMatcher(betterproto2.Message):
    """What happens for some ranges."""

    ranges: "list[Int32Range]" = betterproto2.field(1, betterproto2.TYPE_MESSAGE, repeated=True)
    on_match: "MatcherOnMatch | None" = betterproto2.field(2, betterproto2.TYPE_MESSAGE, optional=True)


@dataclass(eq=False, repr=False, config={"extra": "forbid"})
class DoubleRangeMatcher(betterproto2.Message):
    """Matches a floating-point number against ranges; the first that contains it wins."""

    range_matchers: "list[DoubleRangeMatcherRangeMatcher]" = betterproto2.field(
        1, betterproto2.TYPE_MESSAGE, repeated=True
    )


@dataclass(eq=False, repr=False, config={"extra": "forbid"})
class DoubleRangeMatcherRangeMatcher(betterproto2.Message):
    """What happens for some ranges."""

    ranges: "list[DoubleRange]" = betterproto2.field(1, betterproto2.TYPE_MESSAGE, repeated=True)
    on_match: "MatcherOnMatch | None" = betterproto2.field(2, betterproto2.TYPE_MESSAGE, optional=True)


@dataclass(eq=False, repr=False, config={"extra": "forbid"})
class CelMatcher(betterproto2.Message):
    """Matches when a CEL expression over the input is true."""

    expr_match: "CelExpression | None" = betterproto2.field(1, betterproto2.TYPE_MESSAGE, optional=True)
    description: "str" = betterproto2.field(2, betterproto2.TYPE_STRING)


@dataclass(eq=False, repr=False, config={"extra": "forbid"})
class HttpAttributesCelMatchInput(betterproto2.Message):
    """Gives a CelMatcher the attributes of an HTTP request and response."""


_MATCHERS: dict[str, type[betterproto2.Message]] = {
    "IPMatcher": IpMatcher,
    "IPMatcher.IPRangeMatcher": IpMatcherIpRangeMatcher,
    "ServerNameMatcher": ServerNameMatcher,
    "ServerNameMatcher.DomainMatcher": ServerNameMatcherDomainMatcher,
    "Int64RangeMatcher": Int64RangeMatcher,
    "Int64RangeMatcher.RangeMatcher": Int64RangeMatcherRangeMatcher,
    "Int32RangeMatcher": Int32RangeMatcher,
    "Int32RangeMatcher.RangeMatcher": Int32RangeMatcherRangeMatcher,
    "DoubleRangeMatcher": DoubleRangeMatcher,
    "DoubleRangeMatcher.RangeMatcher": DoubleRangeMatcherRangeMatcher,
    "CelMatcher": CelMatcher,
    "HttpAttributesCelMatchInput": HttpAttributesCelMatchInput,
}
for _name, _cls in _MATCHERS.items():
    default_message_pool.register_message("xds.type.matcher.v3", _name, _cls)

default_message_pool.register_message("xds.type.v3", "Int64Range", Int64Range)
default_message_pool.register_message("xds.type.v3", "Int32Range", Int32Range)
default_message_pool.register_message("xds.type.v3", "DoubleRange", DoubleRange)
