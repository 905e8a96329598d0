"""Settings for all tests."""

import gc
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.api_server", "tests.support.custom_resources", "tests.support.kubectl"]


# How long an example takes is the machine's doing, and not what is tested.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

LONGEST = (
    "e2e/test_under_load.py",
    "e2e/test_operator_failures.py",
    "tests/operator/test_two_operators.py",
    "e2e/test_operator.py",
    "e2e/test_poison.py",
    "e2e/test_authorization.py",
    "e2e/test_injected_pods.py",
    "tests/demo/test_demo_process.py",
    "e2e/test_root_rotation_traffic.py",
    "tests/installation/test_rights_in_cluster.py",
    "tests/cli/test_cli_serve_kubernetes.py",
    "tests/cli/test_cli_serve_secure.py",
    "tests/crds/test_crds_upgrade.py",
    "tests/installation/test_helm_in_cluster.py",
    "tests/demo/test_demo_mesh.py",
    "tests/demo/test_demo_tour.py",
)
"""Files that take longest, in the order of their start; those that load the machine most are not next to each other."""


def pytest_configure(config: pytest.Config) -> None:
    """Let envoy-data-plane be imported: its generated code uses a form of validator that pydantic has deprecated."""
    config.addinivalue_line("filterwarnings", "ignore:Using .@model_validator. with mode='after':DeprecationWarning")
    if config.pluginmanager.hasplugin("xdist"):
        # By itself it begins with the files of most tests, and ends with those of few that take minutes.
        config.option.loadscopereorder = False


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays to the end: the collector of garbage need not walk over it ever again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the longest files, then those of pods, so that no worker is left alone with one of them at the end.

    `--dist loadfile` hands files out in this order.
    """
    ranks = {config.rootpath / name: rank for rank, name in enumerate(LONGEST)}
    pods = config.rootpath / "e2e"

    def rank(path: Path) -> int:
        return ranks.get(path, len(ranks) + (pods not in path.parents))

    items.sort(key=lambda item: rank(item.path))
