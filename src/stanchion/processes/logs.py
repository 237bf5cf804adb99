"""Log lines on stderr: JSON for machines, text on a terminal. Values of runs never get here (I9): events carry ids."""

from __future__ import annotations

import logging
import sys

import structlog

from stanchion.base import dumps
from stanchion.base.settings import TelemetrySettings


def configure_logs(settings: TelemetrySettings) -> None:
    """Set the form and the least level of this process's log, also for libraries that use `logging`."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    as_text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor
    if as_text:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    else:
        renderer = structlog.processors.JSONRenderer(serializer=_json)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        level=max(level, logging.WARNING), stream=sys.stderr, format='{"logger": "%(name)s", "event": "%(message)s"}'
    )


def _json(value: object, **_: object) -> str:
    return dumps(value).decode()
