"""Bounded scalars as Istio's CRD schemas declare them."""

from typing import Annotated

from msgspec import Meta

Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
NonNegativeInt32 = Annotated[int, Meta(ge=0, le=2**31 - 1)]
UInt32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
PositiveUInt32 = Annotated[int, Meta(ge=1, le=2**32 - 1)]
UInt64 = Annotated[int, Meta(ge=0)]
PortNumber = Annotated[int, Meta(ge=1, le=65535)]
NonNegativeFloat = Annotated[float, Meta(ge=0)]
PercentFloat = Annotated[float, Meta(ge=0, le=100)]

NonEmpty = Annotated[str, Meta(min_length=1)]
HeaderName = Annotated[str, Meta(pattern=r"^[-_A-Za-z0-9]+$")]
NonEmptyHeaderName = Annotated[str, Meta(min_length=1, pattern=r"^[-_A-Za-z0-9]+$")]
Sha256 = Annotated[str, Meta(pattern=r"(^$|^[a-f0-9]{64}$)")]
Text253 = Annotated[str, Meta(max_length=253)]
Text256 = Annotated[str, Meta(max_length=256)]
Text320 = Annotated[str, Meta(max_length=320)]
Text2048 = Annotated[str, Meta(max_length=2048)]
NonEmpty253 = Annotated[str, Meta(min_length=1, max_length=253)]
NonEmpty256 = Annotated[str, Meta(min_length=1, max_length=256)]
NonEmpty2048 = Annotated[str, Meta(min_length=1, max_length=2048)]
NonEmpty65536 = Annotated[str, Meta(min_length=1, max_length=65536)]
