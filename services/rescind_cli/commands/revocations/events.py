"""`rescind events`: the latest revocations and, with --follow, new ones."""

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from rescind_cli.options.authority_options import CommandTarget, with_target
from rescind_cli.output import terminal

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import LedgerEvent, RevocationDetails


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Continue with new events, until Ctrl-C.")
@click.option("--after", type=click.IntRange(min=0), help="With --follow: start after this seq.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="How many of the latest revocations to show.",
)
@with_target
def events(*, target: CommandTarget, follow: bool, after: int | None, limit: int) -> None:
    """Show the latest revocations and, with --follow, new ones.

    The events are shown oldest first. With --json, each is one line.
    """
    if after is not None and not follow:
        raise click.UsageError("--after requires --follow")
    with target.admin() as admin:
        if after is None:
            latest = list(itertools.islice(admin.revocations(), limit))
            for each in reversed(latest):
                _show(_event(each), target)
            after = max((each["seq"] for each in latest), default=0) if limit else None
        if follow:
            for event in admin.events(after=after):
                _show(event, target)


def _event(revocation: "RevocationDetails") -> "LedgerEvent":
    """Return a listed revocation in the form of the event stream."""
    return {
        "at": revocation["committed_at"],
        "epoch": revocation["epoch"],
        "seq": revocation["seq"],
        "id": revocation["id"],
        "effect": revocation["effect"],
        "selector": revocation["selector"],
        "scopes": revocation["scopes"],
        "issued_before": revocation["issued_before"],
        "until": revocation["until"],
        "lifts": revocation["lifts"],
        "reason": revocation["reason"],
        "actor": revocation["actor"],
    }


def _show(each: "LedgerEvent", target: CommandTarget) -> None:
    if target.as_json:
        terminal.as_json(each)
    else:
        terminal.line(
            f"{each['seq']:>6}",
            str(each["at"]),
            str(each["effect"]),
            " AND ".join(map(str, each["selector"])),
            *_effect_details(each),
            str(each.get("reason") or ""),
        )


def _effect_details(each: "LedgerEvent") -> Iterator[str]:
    """Yield a text for each field that only some effects have."""
    if each.get("scopes"):
        yield f"without {' '.join(map(str, each['scopes']))}"
    if each.get("until"):
        yield f"until {each['until']}"
    if each.get("lifts"):
        yield f"lifts {each['lifts']}"
