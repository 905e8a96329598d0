"""Commands in header values: what Envoy would refuse is refused before it gets there, and nothing else."""

from __future__ import annotations

import pytest

from translators.format_strings import refuse_unknown_commands
from translators.untranslatable import UntranslatableError

GOOD = (
    "",
    "plain",
    "50%%",
    "%%%PROTOCOL%%%",
    "%REQ(X-A?Y):10%",
    "from %DOWNSTREAM_REMOTE_ADDRESS% at %START_TIME(%Y/%m)%",
    '%COALESCE({"operators":["PROTOCOL"]})%',
    "%METADATA(CLUSTER:istio:host)%",
    "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:ms)%",
    "%FILTER_STATE(a:PLAIN)%",
    '%UPSTREAM_METADATA(["a","b"])%',
    "%CEL(request.headers['x'])%",
)
BAD = (
    "%",
    "100% sure",
    "%A",
    "%A%",
    "%REQ%",
    "%REQ()%",
    "%REQ(x)",
    "%REQ(a:b)%",
    "%FOO(x)%",
    "%PROTOCOL:5%",
    "%DURATION%%",
)


@pytest.mark.parametrize("value", GOOD)
def test_what_envoy_knows_passes(value: str) -> None:
    refuse_unknown_commands(value, "x")


@pytest.mark.parametrize("value", BAD)
def test_what_envoy_would_refuse_is_named(value: str) -> None:
    with pytest.raises(UntranslatableError) as error:
        refuse_unknown_commands(value, "headers.request.set.x")
    assert error.value.path == "headers.request.set.x"
