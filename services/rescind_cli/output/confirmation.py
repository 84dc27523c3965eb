"""The confirmation of a command that cannot be undone."""

import sys

import click


def ask(question: str) -> None:
    """Ask on the terminal, and abort the command unless the answer is yes. Raises UsageError."""
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal for a confirmation: add --yes")
    click.confirm(question, abort=True, err=True)
