"""Fixtures of the end-to-end tests, and what happens where they cannot run."""

import asyncio
import warnings
from collections.abc import AsyncIterator, Generator

import pytest
import pytest_asyncio

with warnings.catch_warnings():
    # envoy-data-plane decorates in a way that pydantic deprecates; pytest loads this file before the settings of the
    # root's conftest.py, which say the same for all tests, are in force.
    warnings.simplefilter("ignore", DeprecationWarning)
    from e2e.harness import Mesh, namespaces, requirements, served_mesh
    from e2e.harness.kubernetes import Kubernetes
    from tests.support.api_server import require_api_server


@pytest.fixture(scope="session", autouse=True)
def _no_leftovers() -> None:
    if requirements.missing() is None:
        asyncio.run(namespaces.delete_leftovers())


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    """An empty cluster whose control plane is `dragoman serve`."""
    async with served_mesh() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_mesh() -> AsyncIterator[Mesh]:
    """The same, for all tests of a module, which leave it as they found it."""
    async with served_mesh() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def settled(shared_mesh: Mesh) -> None:
    """What the test before this one left behind is undone at every proxy."""
    await shared_mesh.settled()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, with the reason, what needs pods where none can be made; with REQUIRE_NETNS=1 fail instead.

    What needs a cluster needs an API server as well: see `require_api_server`.
    """
    if item.get_closest_marker("netns") is None:
        return
    if (reason := requirements.missing()) is not None:
        (pytest.fail if requirements.required() else pytest.skip)(reason)
    if item.get_closest_marker("real_api") is not None:
        require_api_server()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the ends of the programs' logs beside a failure."""
    report = yield
    if report.failed:
        for fixture in getattr(item, "funcargs", {}).values():
            mesh = fixture if isinstance(fixture, Mesh | Kubernetes) else getattr(fixture, "mesh", None)
            if isinstance(mesh, Mesh | Kubernetes):
                report.sections += [(f"log of {name}", text) for name, text in mesh.logs().items() if text]
    return report
