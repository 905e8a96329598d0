"""Programs that tests run and that are built beforehand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from e2e.go_program import GoProgram


def required(program: GoProgram) -> Path:
    """The program. Skips the test where there is none, with how to get it; with REQUIRE_REAL_API=1 it fails instead."""
    found = program.find()
    if found is None:
        reason = f"no {program.name}: build it with `make apiserver`, or set {program.variable} to it"
        (pytest.fail if os.environ.get("REQUIRE_REAL_API") == "1" else pytest.skip)(reason)
    return found
