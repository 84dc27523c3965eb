"""The entry point: `rescind <verb>`. Each verb is imported only when it is used.

Nothing here imports the SDK: `rescind --help` and completion take as long as click takes.
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

EXIT_CRASHED = 70  # EX_SOFTWARE in sysexits.h: a defect of ours
EXIT_INTERRUPTED = 130  # what a shell reports for SIGINT
EXIT_BROKEN_PIPE = 141  # and for SIGPIPE

# What `--help` lists, in this order; a test compares it with what the commands say themselves.
VERBS = {
    "up": "Run the whole system on this machine, until Ctrl-C.",
    "demo": "Show a revocation arrive at three services, measured, in under a minute.",
    "bench": "Measure rescind against its real alternatives, in the same run on this machine.",
    "issue": "Issue a token, and print it this once.",
    "delegate": "Hand a part of a token's power on, and print the new token this once.",
    "check": "Ask the local sidecar about the token on stdin.",
    "revoke": "Revoke every token that has all of these handles.",
    "suspend": "Suspend every token that has all of these handles, until it is lifted.",
    "narrow": "Take scopes away from every token that has all of these handles.",
    "lift": "End a suspension or a narrowing; of a kill, the suspension.",
    "kill": "End all that speaks for a subject, and let it have nothing new.",
    "revocations": "List what was revoked, or what stands and can be lifted; look at one.",
    "receipt": "Show the receipt of a revocation once it is enforced, or check one.",
    "tokens": "List tokens, look at one, rotate or expire it.",
    "subjects": "Show all that speaks for a subject, and what holds it.",
    "tree": "Show who delegated what to whom, and what has become of each.",
    "fleet": "Show who verifies, and how fresh each is.",
    "canary": "Revoke a token of no power, and see that no verifier accepts it after the receipt.",
    "term": "Show how long a lease lasts, or change it.",
    "events": "Show what was revoked, and with --follow what is being revoked.",
    "explain": "Say why a token is denied, since when, by whom, and what it may still do.",
    "doctor": "Find out what is wrong with this installation, and what to do.",
    "authority": "Run an authority, configured by the environment.",
    "sidecar": "Run a sidecar, configured by the environment.",
    "migrate": "Bring the authority's schema up to date.",
    "keys": "Look at the signing keys, or rotate one.",
    "ledger": "Look at the ledger, or begin a new epoch after a restore.",
    "recover": "Get back in when the last admin token is lost.",
    "completion": "Print the completion script of a shell.",
}


class Verbs(click.Group):
    """Know the verbs by name, and import one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """List the verbs as `--help` shows them."""
        return list(VERBS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        cmd_name: str,
    ) -> click.Command | None:
        """Import a verb."""
        if cmd_name not in VERBS:
            return None
        found = getattr(import_module(f"rescind_cli.commands.{cmd_name}"), cmd_name)
        assert isinstance(found, click.Command)  # noqa: S101 - tests load every verb
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, in the same words for every unknown one: click would import them all."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            raise click.UsageError(f"there is no command {args[0]!r}; `rescind --help` lists them")
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
            CompletionItem(verb, help=says)
            for verb, says in VERBS.items()
            if verb.startswith(incomplete)
        ]
        return found or super().shell_complete(ctx, incomplete)

    def invoke(self, ctx: click.Context) -> object:
        """Run a verb; an error that we know becomes one message and an exit code."""
        from rescind_cli import failures  # noqa: PLC0415 - --help need not pay for it

        with failures.told(ctx):
            return super().invoke(ctx)


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Settings come from RESCIND_… in the environment, then from the data directory that "
    "`rescind up` keeps. Exit codes: 0 done, 1 refused or denied, 2 usage, 4 not known, "
    "5 unreachable.",
)
@click.version_option(package_name="rescind", message="%(prog)s %(version)s")
def rescind() -> None:
    """Revoke a token once; every verifier denies it in milliseconds."""


def main() -> NoReturn:
    """Run the command line, and leave the process."""
    sys.excepthook = _last_words
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
        # Whoever read us has seen enough; the interpreter's own flush must not fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_BROKEN_PIPE)
    sys.exit(code if isinstance(code, int) else 0)


def _last_words(
    kind: type[BaseException], error: BaseException, _traceback: TracebackType | None
) -> None:
    """Say a defect in one line: a traceback helps nobody who types commands."""
    sys.stderr.write(
        f"rescind: stopped by a defect of its own ({kind.__name__}: {error}). Please report it.\n"
    )
    sys.exit(EXIT_CRASHED)


if __name__ == "__main__":
    main()
