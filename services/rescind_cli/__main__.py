"""The entry point: `rescind <verb>`. Each verb is imported only when it is used.

This module does not import the SDK: `rescind --help` and completion take only as long as click.
"""

import errno
import os
import sys
from importlib import import_module
from types import TracebackType
from typing import NoReturn

try:
    import click
    from click.shell_completion import CompletionItem
except ModuleNotFoundError:
    sys.exit("rescind: the command line needs more than the bare SDK: pip install 'rescind[cli]'")

from rescind_cli.command_table import COMMANDS, VERBS
from rescind_cli.help import examples, suggestions

EXIT_CRASHED = 70  # EX_SOFTWARE in sysexits.h: a defect of rescind
EXIT_INTERRUPTED = 130  # what a shell reports for SIGINT
EXIT_BROKEN_PIPE = 141  # and for SIGPIPE


def _not_installed(verb: str, error: ImportError) -> click.Command:
    """Return a stand-in for a verb whose extra is missing; its `--help` names what to install."""
    reason = f"It requires {error.name}, which is not installed: pip install 'rescind[all]'."
    if not isinstance(error, ModuleNotFoundError):
        reason = str(error)  # the message names the extra

    def refuse() -> NoReturn:
        raise error

    return click.Command(
        verb,
        callback=refuse,
        help=f"{VERBS[verb]}\n\n{reason}",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )


class Verbs(click.Group):
    """A group that imports each command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the verbs in the order of `--help`."""
        return list(VERBS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        cmd_name: str,
    ) -> click.Command | None:
        """Import a verb and return its command, or None if it is unknown."""
        if cmd_name not in VERBS:
            return None
        try:
            command = getattr(import_module(COMMANDS[cmd_name][0]), cmd_name)
        except ImportError as error:
            ours = error.name is None or error.name.startswith("rescind")
            if isinstance(error, ModuleNotFoundError) and ours:
                raise
            return _not_installed(cmd_name, error)
        assert isinstance(command, click.Command)  # noqa: S101 - tests load every verb
        examples.add(command, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command and its arguments.

        An unknown name raises click's usual error, without importing all commands.
        """
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            hint = suggestions.near(args[0], VERBS) or "; `rescind --help` lists them"
            raise click.UsageError(f"there is no command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the list of verbs without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a verb without importing any."""
        found = [
            CompletionItem(verb, help=summary)
            for verb, summary in VERBS.items()
            if verb.startswith(incomplete)
        ]
        return found or super().shell_complete(ctx, incomplete)

    def invoke(self, ctx: click.Context) -> object:
        """Run a verb. A known error becomes one message and an exit code."""
        from rescind_cli.output import exit_codes  # noqa: PLC0415 - --help need not pay for it

        with exit_codes.reported_errors(ctx):
            return super().invoke(ctx)


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Settings are read from RESCIND_… in the environment, then from the data directory of "
    "`rescind up`.\n\n\b\nExit codes:\n"
    "  0    done; with --wait: enforced\n"
    "  1    refused, or denied\n"
    "  2    wrong usage; nothing was sent\n"
    "  3    enforced, except by verifiers in grace\n"
    "  4    outcome unknown: repeat the command with the printed --idempotency-key\n"
    "  5    the authority or the sidecar does not answer\n"
    "  6    committed, but not enforced within the timeout\n"
    "  70   a defect of rescind: please report it\n"
    "  130  interrupted by Ctrl-C; 129, 141, 143 by SIGHUP, SIGPIPE, SIGTERM",
)
@click.version_option(package_name="rescind", message="%(prog)s %(version)s")
def rescind() -> None:
    """Revoke a token once; every verifier denies it in milliseconds."""


def main() -> NoReturn:
    """Run the command line, and exit."""
    sys.excepthook = _print_defect
    try:
        code = rescind.main(prog_name="rescind", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.stderr.write("\n")
        sys.exit(EXIT_INTERRUPTED)
    except OSError as error:
        if error.errno != errno.EPIPE:
            raise
        # The reader closed the pipe; the interpreter's own flush must not fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_BROKEN_PIPE)
    sys.exit(code if isinstance(code, int) else 0)


def _print_defect(
    kind: type[BaseException], error: BaseException, _traceback: TracebackType | None
) -> None:
    """Print a defect in one line: a traceback does not help an operator."""
    sys.stderr.write(
        f"rescind: stopped by a defect of rescind ({kind.__name__}: {error}). Please report it.\n"
    )
    sys.exit(EXIT_CRASHED)


if __name__ == "__main__":
    main()
