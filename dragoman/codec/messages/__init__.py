"""Messages that envoy-data-plane lacks, in its own manner: pydantic dataclasses registered in its message pool.

Annotations are text, as in envoy-data-plane's generated code, because `dragoman.codec.schema` reads them as such.
"""

from dragoman.codec.messages.certificates import (
    IstioCertificateRequest,
    IstioCertificateResponse,
)
from dragoman.codec.messages.matchers import (
    CelMatcher,
    DoubleRange,
    DoubleRangeMatcher,
    DoubleRangeMatcherRangeMatcher,
    HttpAttributesCelMatchInput,
    Int32Range,
    Int32RangeMatcher,
    Int32RangeMatcherRangeMatcher,
    Int64Range,
    Int64RangeMatcher,
    Int64RangeMatcherRangeMatcher,
    IpMatcher,
    IpMatcherIpRangeMatcher,
    ServerNameMatcher,
    ServerNameMatcherDomainMatcher,
)
from dragoman.codec.messages.typed_struct import (
    TypedStruct,
    UdpaTypedStruct,
)

__all__ = [
    "CelMatcher",
    "DoubleRange",
    "DoubleRangeMatcher",
    "DoubleRangeMatcherRangeMatcher",
    "HttpAttributesCelMatchInput",
    "Int32Range",
    "Int32RangeMatcher",
    "Int32RangeMatcherRangeMatcher",
    "Int64Range",
    "Int64RangeMatcher",
    "Int64RangeMatcherRangeMatcher",
    "IpMatcher",
    "IpMatcherIpRangeMatcher",
    "IstioCertificateRequest",
    "IstioCertificateResponse",
    "ServerNameMatcher",
    "ServerNameMatcherDomainMatcher",
    "TypedStruct",
    "UdpaTypedStruct",
]
