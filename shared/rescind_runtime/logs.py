"""Logs: structlog and the standard library's in one stream on stderr, with a stable `action=` key.

`RESCIND_LOG` is `json` or `console`, optionally with a level: `console:debug`. A line carries a
traceback at `debug` only. Call sites write `log.info("what a person reads", action="verb")`.
"""

import logging
import re
import sys
import traceback

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

# Any prefix: an installation may have configured its own (docs/protocol.md, Tokens).
_TOKEN = re.compile(r"\b([0-9A-Za-z]+_(?:agt|svc|ses|pat|adm)_)[0-9A-Za-z]{60}\b")
_CREDENTIALS = re.compile(r"://[^\s/@]*@")
_SECRET_KEYS = frozenset({"authorization", "cookie", "key", "password", "secret", "token"})


def configure(log: str) -> None:
    """Send every log line of this process to stderr, in the format and from the level named."""
    style, _, level = log.partition(":")
    threshold = logging.getLevelNamesMapping()[(level or "info").upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _full_error if threshold <= logging.DEBUG else _short_error,
        _name_action,
        _hide_secrets,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer()
                if style == "json"
                else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
            ],
        )
    )
    logging.basicConfig(level=threshold, handlers=[handler], force=True)
    for chatty in ("uvicorn.access", "uvicorn.error", "asyncio", "httpx2", "httpcore2"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, threshold))
    logging.getLogger("asyncio").addFilter(is_news)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def is_news(record: logging.LogRecord) -> bool:
    """Return False for a line that asyncio logs for every TLS connection of nats-py."""
    return "eof_received" not in record.getMessage()


def _short_error(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Replace an exception by its type, its text, and where it was raised."""
    error = _exception(line)
    if error is not None:
        line["error"] = f"{type(error).__name__}: {error}"
        if frames := traceback.extract_tb(error.__traceback__):
            line["where"] = f"{frames[-1].filename}:{frames[-1].lineno}"
    return line


def _full_error(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Replace an exception by its whole traceback, for developers of rescind itself."""
    error = _exception(line)
    if error is not None:
        line["exception"] = "".join(traceback.format_exception(error))
    return line


def _exception(line: EventDict) -> BaseException | None:
    match line.pop("exc_info", None):
        case BaseException() as error:
            return error
        case (_, BaseException() as error, _):
            return error
        case None | False:
            return None
        case _:
            return sys.exception()


def _name_action(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Set the action of a library's line to the name of its logger."""
    if "action" not in line:
        record: logging.LogRecord | None = line.get("_record")
        line["action"] = record.name if record else "note"
    return line


def _hide_secrets(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Blank tokens and passwords that slipped into a line: the last defence, not the first."""
    for key, entry in line.items():
        if key in _SECRET_KEYS:
            line[key] = "<secret>"
        elif isinstance(entry, str):
            hidden = _TOKEN.sub(r"\1<secret>", entry)
            line[key] = _CREDENTIALS.sub("://<secret>@", hidden)
    return line
