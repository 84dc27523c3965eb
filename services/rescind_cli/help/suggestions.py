"""Suggestions for misspelt names: `did you mean …?`"""

from collections.abc import Iterable, Sequence
from typing import Any

import click


def near(text: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` for the closest known name, or an empty text."""
    import difflib  # noqa: PLC0415 - only a misspelt name needs it

    found = difflib.get_close_matches(text.lower(), sorted(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


class Group(click.Group):
    """A group that suggests the closest command for an unknown one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command, or raise an error that suggests the closest one."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            hint = near(args[0], self.commands) or f"; `{ctx.command_path} --help` lists them"
            raise click.UsageError(f"there is no command {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)


class Known(click.Choice[str]):
    """A choice of words that suggests the closest one for an unknown one."""

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__(words)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read a word; click turns the failure into a usage error."""
        if value in self.choices:
            return str(value)
        hint = near(str(value), self.choices)
        return self.fail(f"{value!r} is not one of {', '.join(self.choices)}{hint}", param, ctx)
