"""Injected faults: delays and aborts (Istio: route.go, TranslateFault)."""

from __future__ import annotations

from envoy_data_plane.envoy.extensions.filters.common.fault.v3 import FaultDelay
from envoy_data_plane.envoy.extensions.filters.http.fault.v3 import FaultAbort, HttpFault
from envoy_data_plane.envoy.type.v3 import FractionalPercent

from crds.grpcstatus import GRPC_STATUSES
from crds.virtualservice import Abort, Delay, HTTPFaultInjection, Percent
from translators.durations import positive
from translators.fractions import fraction, whole_fraction
from translators.untranslatable import UntranslatableError

FILTER = "envoy.filters.http.fault"


def fault(injection: HTTPFaultInjection) -> HttpFault | None:
    """The settings of a route for Envoy's fault filter; without a percentage no request is touched."""
    delay = _delay(injection.delay) if injection.delay is not None else None
    abort = _abort(injection.abort) if injection.abort is not None else None
    return None if delay is None and abort is None else HttpFault(delay=delay, abort=abort)


def _delay(delay: Delay) -> FaultDelay | None:
    if delay.fixed_delay is None:
        return None  # an exponential delay, which neither Istio nor Envoy has
    if delay.percentage is None:
        share = whole_fraction(delay.percent or 0, "fault.delay.percent")
    else:
        share = fraction(delay.percentage, "fault.delay.percentage")
    return FaultDelay(fixed_delay=positive(delay.fixed_delay, "fault.delay.fixedDelay"), percentage=share)


def _abort(abort: Abort) -> FaultAbort | None:
    if abort.http_status is not None:
        if not 200 <= abort.http_status <= 599:
            raise UntranslatableError("fault.abort.httpStatus", f"{abort.http_status} is not between 200 and 599")
        return FaultAbort(http_status=abort.http_status, percentage=_share(abort.percentage))
    if abort.grpc_status is not None:
        return FaultAbort(grpc_status=grpc_status(abort.grpc_status), percentage=_share(abort.percentage))
    return None


def _share(percentage: Percent | None) -> FractionalPercent:
    return fraction(percentage or Percent(), "fault.abort.percentage")


def grpc_status(name: str) -> int:
    """The number of a gRPC status, given by its name as gRPC spells it (Istio: validateGRPCStatus takes no other)."""
    if name not in GRPC_STATUSES:
        raise UntranslatableError("fault.abort.grpcStatus", f"{name!r} is no gRPC status")
    return GRPC_STATUSES.index(name)
