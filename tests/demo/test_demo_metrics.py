"""What the live view makes of Istio's metrics."""

import pytest

from dragoman.demo.metrics import Totals, median, totals, traffic

_TEXT = """\
# TYPE istio_requests_total counter
istio_requests_total{reporter="destination",source_workload="web-v1",response_code="200",\
connection_security_policy="mutual_tls"} 90
istio_requests_total{reporter="destination",source_workload="stranger",response_code="403",\
connection_security_policy="none"} 10
istio_requests_total{reporter="source",source_workload="catalog-v1",response_code="503",\
connection_security_policy="unknown"} 7
# TYPE istio_request_duration_milliseconds histogram
istio_request_duration_milliseconds_bucket{reporter="destination",response_code="200",le="5"} 40
istio_request_duration_milliseconds_bucket{reporter="destination",response_code="200",le="10"} 90
istio_request_duration_milliseconds_bucket{reporter="destination",response_code="200",le="+Inf"} 100
istio_request_duration_milliseconds_bucket{reporter="source",response_code="200",le="5"} 1000
"""


def test_only_what_arrived_counts() -> None:
    found = totals(_TEXT)
    assert (found.requests, found.succeeded, found.mutual_tls) == (100, 90, 90)
    assert found.callers == {"web-v1": 90, "stranger": 10}
    assert found.buckets == {5.0: 40, 10.0: 90, float("inf"): 100}


def test_nothing_was_counted_yet() -> None:
    assert totals("") == Totals()
    quiet = traffic(Totals(), Totals(), 1.0)
    assert (quiet.requests_per_second, quiet.success, quiet.mutual_tls, quiet.median_milliseconds) == (
        0,
        None,
        None,
        None,
    )


def test_traffic_is_the_difference_of_two_scrapes() -> None:
    before = totals(_TEXT)
    after = Totals(140, 130, 110, {"web-v1": 90, "stranger": 50}, {5.0: 60, 10.0: 110, float("inf"): 140})
    seen = traffic(before, after, 2.0)
    assert seen.requests_per_second == 20
    assert seen.success == 1.0
    assert seen.mutual_tls == 0.5
    assert seen.callers == ("stranger",)
    assert seen.median_milliseconds == 5.0


@pytest.mark.parametrize(
    ("buckets", "expected"),
    [
        pytest.param({}, None, id="nothing"),
        pytest.param({10.0: 0, float("inf"): 0}, None, id="no-request"),
        pytest.param({10.0: 4, float("inf"): 4}, 5.0, id="first-bucket"),
        pytest.param({10.0: 2, 20.0: 8, float("inf"): 8}, 10 + 10 * 2 / 6, id="within-a-bucket"),
        pytest.param({10.0: 0, float("inf"): 4}, 10.0, id="above-the-last-bound"),
    ],
)
def test_the_median(buckets: dict[float, float], expected: float | None) -> None:
    assert median(buckets) == expected
