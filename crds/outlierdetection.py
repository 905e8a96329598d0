"""When an endpoint that fails is left alone for a while."""

from msgspec import field

from crds.duration import Duration
from crds.model import Message
from crds.scalars import Int32, UInt32


class OutlierDetection(Message, frozen=True):
    consecutive_errors: Int32 | None = None  # deprecated and ignored, as by Istio
    split_external_local_origin_errors: bool | None = None
    consecutive_local_origin_failures: UInt32 | None = None
    consecutive_gateway_errors: UInt32 | None = None
    consecutive_5xx_errors: UInt32 | None = field(default=None, name="consecutive5xxErrors")
    interval: Duration | None = None
    base_ejection_time: Duration | None = None
    max_ejection_percent: Int32 | None = None
    min_health_percent: Int32 | None = None
    outlier_detection_http_error_codes: tuple[int, ...] = ()
