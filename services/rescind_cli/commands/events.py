"""`rescind events`: what was revoked, and what is being revoked."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import click

from rescind_cli import render
from rescind_cli.target import Target, with_target

_NAMES = (
    "epoch",
    "seq",
    "id",
    "effect",
    "selector",
    "scopes",
    "issued_before",
    "until",
    "lifts",
    "reason",
    "actor",
)


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--after", type=click.IntRange(min=0), help="With --follow: from this seq on.")
@click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True)
@with_target
def events(*, target: Target, follow: bool, after: int | None, limit: int) -> None:
    """Show what was revoked, and with --follow what is being revoked.

    Oldest first. With --json, one line for each.
    """
    if after is not None and not follow:
        raise click.UsageError("--after goes with --follow")
    with target.admin() as admin:
        if after is None:
            latest = list(itertools.islice(admin.revocations(), limit))
            for each in reversed(latest):
                _show(_as_event(each), target)
            after = max((each["seq"] for each in latest), default=0) if limit else None
        if follow:
            for each in admin.events(after=after):
                _show(each, target)


def _as_event(revocation: Mapping[str, Any]) -> Mapping[str, Any]:
    """Write a listed revocation as the event stream does: one form for both."""
    return {"at": revocation["committed_at"], **{name: revocation[name] for name in _NAMES}}


def _show(each: Mapping[str, Any], target: Target) -> None:
    if target.as_json:
        render.as_json(each)
    else:
        render.line(
            f"{each['seq']:>6}",
            str(each["at"]),
            str(each["effect"]),
            " AND ".join(map(str, each["selector"])),
            *_more(each),
            str(each.get("reason") or ""),
        )


def _more(each: Mapping[str, Any]) -> Iterator[str]:
    """Say what belongs to one effect only."""
    if each.get("scopes"):
        yield f"without {' '.join(map(str, each['scopes']))}"
    if each.get("until"):
        yield f"until {each['until']}"
    if each.get("lifts"):
        yield f"ends {each['lifts']}"
