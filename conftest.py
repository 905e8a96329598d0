"""Settings for all tests."""

import pytest

pytest_plugins = ["tests.support.api_server", "tests.support.custom_resources", "tests.support.kubectl"]


def pytest_configure(config: pytest.Config) -> None:
    """Let envoy-data-plane be imported: its generated code uses a form of validator that pydantic has deprecated."""
    config.addinivalue_line("filterwarnings", "ignore:Using .@model_validator. with mode='after':DeprecationWarning")
