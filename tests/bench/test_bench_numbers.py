"""The pure parts of the benchmark: numbers, the table, the verdict of the soak."""

import json
import math

import pytest

from crds.decode import decode_json
from e2e.bench import mesh
from e2e.bench.measure import median, percentile, slope
from e2e.bench.report import as_json, holds, markdown, table
from e2e.bench.rows import QUICK, ROWS
from e2e.bench.soak import Sample, growth, lag_grew


def test_a_percentile_is_a_sample_that_so_many_do_not_exceed() -> None:
    samples = [float(n) for n in range(100, 0, -1)]
    assert percentile(samples, 0.99) == 99
    assert percentile(samples, 1.0) == 100
    assert median([3.0, 1.0, 2.0]) == 2
    assert percentile([7.0], 0.99) == 7
    assert math.isnan(percentile([], 0.5))


def test_the_slope_is_that_of_the_line() -> None:
    assert slope([(0, 1), (1, 3), (2, 5)]) == pytest.approx(2)
    assert slope([(1, 5)]) == 0


GOOD = {
    "last_ack_p50_ms": 9.0,
    "last_ack_p99_ms": 12.0,
    "median_stream_p50_ms": 4.0,
    "loop_lag_p99_ms": 8.0,
    "cpu_s": 1.0,
}


def test_a_row_holds_only_if_all_its_musts_were_measured_and_hold() -> None:
    assert holds("endpoint_1k_100", GOOD)
    assert not holds("endpoint_1k_100", {**GOOD, "last_ack_p99_ms": 30.1})
    missing = dict(GOOD)
    del missing["loop_lag_p99_ms"]
    assert not holds("endpoint_1k_100", missing)


def test_the_table_marks_what_does_not_hold() -> None:
    text = table({"endpoint_1k_100": {**GOOD, "last_ack_p99_ms": 31.0}})
    assert "FAILS" in text
    marked = [line for line in text.splitlines() if line.strip().startswith("!")]
    assert len(marked) == 1
    assert "last_ack_p99_ms" in marked[0]
    assert "holds" in table({"endpoint_1k_100": GOOD})


def test_json_is_rows_of_metrics_of_numbers() -> None:
    found = json.loads(as_json({"storm": {"cpu_share": 0.5, "staleness_p99_ms": math.nan}}))
    assert found == {"storm": {"cpu_share": 0.5}}


def test_markdown_shows_musts_beside_what_was_measured() -> None:
    line = markdown({"storm": {"cpu_share": 0.75, "staleness_p99_ms": 200.0}}).splitlines()[2]
    assert "`cpu_share` ≤ 0.60" in line
    assert "**0.75**" in line
    assert "| 200" not in line.replace("<br>200", "")


def test_markdown_shows_musts_of_what_every_row_has_and_marks_what_is_missing() -> None:
    late, unmeasured = {"cpu_s": 4.0, "rss_mb": 310.0, "loop_lag_p99_ms": 31.0}, {"cpu_s": 4.0, "rss_mb": 300.0}
    line = markdown({"cold_10k": late}).splitlines()[2]
    assert "`rss_mb` ≤ 300" in line
    assert line.count("**310**") == 2, "beside its limit, and in its column"
    assert "| **31** |" in line
    assert "| **?** |" in markdown({"cold_10k": unmeasured}).splitlines()[2]


def test_the_quick_rows_are_rows() -> None:
    assert set(QUICK) <= set(ROWS)


def test_every_object_of_the_mesh_is_one_that_we_read() -> None:
    size = mesh.Size(20, replicas=2, accounts=2, proxy_namespaces=2)
    objects = [decode_json(document) for document in mesh.objects(size)]
    assert len({obj.key for obj in objects}) == len(objects)
    assert len(mesh.node_ids(size)) == len(set(mesh.node_ids(size))) == size.proxies == 8


def test_a_moved_endpoint_says_which_change_moved_it() -> None:
    moved = decode_json(mesh.endpoints(9_999, 70_000))
    still = decode_json(mesh.endpoints(9_999))
    assert mesh.change_of(moved.endpoints[1].addresses[0]) == 70_000
    assert moved.endpoints[0] == still.endpoints[0]
    assert mesh.change_of(still.endpoints[1].addresses[0]) is None


def samples(*rss: float, lag: float = 5.0, late_lag: float = 5.0) -> list[Sample]:
    half = len(rss) // 2
    return [Sample(i / 12, value, lag if i < half else late_lag, 20.0) for i, value in enumerate(rss)]


def test_memory_that_grows_after_warming_up_is_told_from_memory_that_grew_while_warming_up() -> None:
    assert growth(samples(*range(100, 140, 2), *[140] * 60)) < 0.05
    assert growth(samples(*[100 + i for i in range(80)])) > 0.05


def test_lag_grows_only_by_more_than_noise() -> None:
    assert not lag_grew(samples(*[100] * 80, late_lag=9.0))
    assert lag_grew(samples(*[100] * 80, late_lag=40.0))
