"""What is kept of Envoy's errors. The texts are Envoy's own."""

import pytest

from dragoman.codec import CLUSTER, LISTENER, SECRET
from xds.nack import culprits, words

DUMP = 'goo.gle/debugonly  \nname: "a"\ntype: EDS\nconnect_timeout {\n}\n'
REASON = "Proto constraint validation failed (ClusterValidationError.ConnectTimeout: value must be greater than 0s)"
CUT = (DUMP + 'metadata {\n  filter_metadata {\n    key: "istio"\n') * 100


def test_the_reason_is_kept_and_the_dump_is_not() -> None:
    assert words(CLUSTER, f"{DUMP}: {REASON}") == REASON


def test_where_the_dump_leaves_no_room_for_the_reason_that_is_said() -> None:
    said = words(CLUSTER, CUT[:4096] + "...(truncated)")
    assert "cut off" in said
    assert "metadata" not in said
    assert culprits(CUT[:4096] + "...(truncated)", {"a", "b"}) == {"a"}


def test_nothing_of_a_dumped_secret_is_kept() -> None:
    dump = 'goo.gle/debugstr  \nname: "default"\ntls_certificate {\n  private_key {\n    inline_string: "KEY"\n'
    assert "KEY" not in words(SECRET, dump)
    assert "KEY" not in words(SECRET, f"{dump}\n: reason")


@pytest.mark.parametrize("type_", ["listener", "cluster"])
def test_all_that_are_listed_are_culprits(type_: str) -> None:
    error = f"Error adding/updating {type_}(s) a: no such extension\nb|x: duplicate address"
    assert culprits(error, {"a", "b|x", "c"}) == {"a", "b|x"}
    assert words(LISTENER, error) == error
