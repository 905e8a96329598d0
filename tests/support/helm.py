"""Helm for the tests that compare with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from e2e.helm import program


def required_helm() -> Path:
    """The program. Skips the test where there is none, with how to get it; with REQUIRE_REAL_API=1 it fails instead."""
    found = program.find()
    if found is None:
        reason = "no helm: build it with `make apiserver`, or set HELM to it"
        (pytest.fail if os.environ.get("REQUIRE_REAL_API") == "1" else pytest.skip)(reason)
    return found
