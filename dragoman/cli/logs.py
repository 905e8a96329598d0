"""Logs: structlog's events, one JSON object or one line of text each, on standard output."""

from __future__ import annotations

import enum
import logging
import sys
from typing import Any, Final, TextIO

import structlog


class LogFormat(enum.StrEnum):
    json = "json"
    text = "text"


class LogLevel(enum.StrEnum):
    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


# structlog shows the local variables of every frame unless told: keys and tokens are among them.
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


class _Relay(logging.Handler):
    """What libraries log the standard way, as events of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        event: dict[str, Any] = {"logger": record.name}
        if record.exc_info is not None:
            event["exc_info"] = record.exc_info
        structlog.get_logger(record.name).log(record.levelno, record.getMessage(), **event)


def configure(style: LogFormat, level: LogLevel, stream: TextIO | None = None) -> None:
    """Set up logging for the whole process, to `stream` or else standard output.

    At `debug` every response and ACK of every proxy is an event.
    """
    out = stream or sys.stdout
    threshold = logging.getLevelNamesMapping()[level.upper()]
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if style is LogFormat.json:
        processors += [_TRACEBACKS, structlog.processors.JSONRenderer(default=str)]
    else:
        plain = structlog.dev.plain_traceback
        processors.append(structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [_Relay()]
    # Libraries have little to say below a warning that helps whoever runs a mesh.
    root.setLevel(max(threshold, logging.WARNING))
