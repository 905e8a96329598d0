"""What the fuzzer once found stays harmless."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.fuzz_targets import TARGETS

CORPUS = Path(__file__).with_name("corpus")


@pytest.mark.parametrize("name", TARGETS)
def test_kept_inputs(name: str) -> None:
    kept = sorted((CORPUS / name).iterdir())
    assert kept, f"no corpus for {name}: run python -m tests.fuzz {name}"
    for path in kept:
        TARGETS[name](path.read_bytes())
