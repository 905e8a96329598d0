"""DestinationRule outlierDetection → Envoy's (Istio: pilot/pkg/networking/core/cluster_traffic_policy.go)."""

from __future__ import annotations

from envoy_data_plane.envoy.config.cluster.v3 import OutlierDetection

from crds.outlierdetection import OutlierDetection as Settings


def outlier_detection(settings: Settings) -> OutlierDetection:
    """Ejection by consecutive failures only: success-rate ejection is always off, as in Istio."""
    return OutlierDetection(
        enforcing_success_rate=0,
        consecutive_5xx=settings.consecutive_5xx_errors or None,
        enforcing_consecutive_5xx=_enforcing(settings.consecutive_5xx_errors),
        consecutive_gateway_failure=settings.consecutive_gateway_errors or None,
        enforcing_consecutive_gateway_failure=_enforcing(settings.consecutive_gateway_errors),
        split_external_local_origin_errors=bool(settings.split_external_local_origin_errors),
        consecutive_local_origin_failure=(
            settings.consecutive_local_origin_failures if settings.split_external_local_origin_errors else None
        )
        or None,
        enforcing_consecutive_local_origin_failure=(
            _enforcing(settings.consecutive_local_origin_failures)
            if settings.split_external_local_origin_errors
            else None
        ),
        enforcing_local_origin_success_rate=0 if settings.split_external_local_origin_errors else None,
        interval=settings.interval,
        base_ejection_time=settings.base_ejection_time,
        max_ejection_percent=settings.max_ejection_percent or None,
    )


def _enforcing(failures: int | None) -> int | None:
    """Written as 0 the check is off; written otherwise it always ejects; unwritten stays Envoy's default."""
    if failures is None:
        return None
    return 100 if failures else 0
