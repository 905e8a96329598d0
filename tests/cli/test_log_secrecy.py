"""A traceback in the logs tells where, not what was in the variables there."""

import io
import logging
from collections.abc import Iterator

import pytest
import structlog

from dragoman.cli.logs import LogFormat, LogLevel, configure


@pytest.fixture
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("_as_before")
@pytest.mark.parametrize("style", LogFormat)
def test_tracebacks_show_no_local_variables(style: LogFormat) -> None:
    out = io.StringIO()
    configure(style, LogLevel.info, out)

    def with_a_key() -> None:
        key = b"sw0rdfish"
        raise ValueError(len(key))

    try:
        with_a_key()
    except ValueError:
        structlog.get_logger("keys").exception("it failed")
    assert "with_a_key" in out.getvalue()
    assert "ValueError" in out.getvalue()
    assert "sw0rdfish" not in out.getvalue()
