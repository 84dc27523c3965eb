"""The failure of a command: one message in plain words, and a documented exit code."""

import contextlib
import json
import sys
from collections.abc import Generator
from enum import IntEnum
from typing import NoReturn

import click

from rescind.client.problems import MissingExtraError, OutcomeUnknownError, ProblemError
from rescind.errors import RescindError, SelectorError, UnreachableError

JSON = "rescind_cli.json"
"""The key in click's root context under which `--json` is stored."""


EXIT_INTERRUPTED = 130
"""What a shell reports for SIGINT."""


class Exit(IntEnum):
    """The exit codes and their meanings."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    GRACE = 3
    UNKNOWN = 4
    UNREACHABLE = 5
    NOT_YET = 6


@contextlib.contextmanager
def reported_errors(context: click.Context) -> Generator[None]:
    """Print a known error on stderr, and exit with its code."""
    try:
        yield
    except RescindError as error:
        _report_and_exit(error, context)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("rescind"):
            raise
        # The extras bring what each part needs: `rescind[cli]` alone cannot run a server.
        _report_and_exit(
            MissingExtraError("all", f"this command uses {error.name}, and so"), context
        )


def warn(error: RescindError) -> None:
    """Print an error on stderr while the command goes on."""
    sys.stderr.write(f"rescind: {error}\n")


def _report_and_exit(error: RescindError, context: click.Context) -> NoReturn:
    code = _code(error)
    if context.find_root().meta.get(JSON):
        sys.stderr.write(json.dumps({"error": _facts(error) | {"exit": code}}) + "\n")
    else:
        warn(error)
    raise click.exceptions.Exit(code)


def _code(error: RescindError) -> Exit:
    match error:
        case UnreachableError() | ProblemError(status=503):
            return Exit.UNREACHABLE
        case OutcomeUnknownError():
            return Exit.UNKNOWN
        case SelectorError():
            return Exit.USAGE
        case _:
            return Exit.REFUSED


def _facts(error: RescindError) -> dict[str, object]:
    match error:
        case ProblemError():
            return {
                "message": str(error),
                "type": error.type,
                "title": error.title,
                "status": error.status,
                "errors": [{"field": each.field, "detail": each.detail} for each in error.errors],
            }
        case OutcomeUnknownError():
            return {"message": str(error), "idempotency_key": error.idempotency_key}
        case _:
            return {"message": str(error)}
