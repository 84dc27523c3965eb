"""The log configuration of a test, which is undone before the next test."""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import structlog

_configure = structlog.configure


def never_cache() -> None:
    """Prevent structlog from caching loggers in this process, whatever is configured.

    A cached logger keeps the configuration of its first line until the process ends, so a later
    test could not capture its lines.
    """
    uncached: Callable[..., None] = _configure_uncached
    structlog.configure = uncached


def _configure_uncached(**options: Any) -> None:
    _configure(**options | {"cache_logger_on_first_use": False})


@contextmanager
def restored() -> Generator[None]:
    """Restore this process's log configuration at the end of the block."""
    before, handlers = structlog.get_config(), logging.getLogger().handlers[:]
    try:
        yield
    finally:
        structlog.configure(**before)
        logging.getLogger().handlers[:] = handlers
