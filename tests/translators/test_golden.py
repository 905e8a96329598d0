"""Golden folders: the output of every case is what its files say.

That a real Envoy takes all of it over ADS is asked in `test_translators_golden_in_envoy`.
"""

from __future__ import annotations

import pytest

from tests.translators.golden import UPDATE, Case, cases, resources


@pytest.mark.parametrize("case", cases(), ids=str)
def test_output_is_as_recorded(case: Case) -> None:
    outputs = case.outputs(resources(case.mesh(), case.proxy))
    if UPDATE:
        case.update(outputs)
    assert case.expected() == outputs
