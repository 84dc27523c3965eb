"""`rescind subjects`: a subject's tokens, and the revocations that apply to them."""

import itertools
from typing import TYPE_CHECKING

import click

from rescind_cli.help import suggestions
from rescind_cli.options.authority_options import CommandTarget, with_target
from rescind_cli.output import revocation_text, terminal
from rescind_runtime import clock

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import TokenFilters

_COLUMNS = ("id", "kind", "state", "issued", "last used", "ends", "device", "from")
_MAX_SHOWN = 1_000


@click.group(cls=suggestions.Group)
def subjects() -> None:
    """Show a subject's tokens, and the revocations that apply to them."""


@subjects.command("show")
@click.argument("subject")
@click.option("--kind", help="Only tokens of this kind, such as session.")
@click.option("--all", "with_ended", is_flag=True, help="Include revoked and expired tokens.")
@with_target
def show(*, target: CommandTarget, subject: str, kind: str | None, with_ended: bool) -> None:
    """Show the tokens of a subject, with the origin and the last use of each.

    The last lines show the revocations that apply to the subject and can be lifted with `rescind
    lift`. `rescind revoke subject:SUBJECT kind:session` logs the subject out everywhere.
    """
    filters: TokenFilters = {"subject": subject}
    if kind:
        filters["kind"] = kind
    handles = [f"subject:{subject}", *(f"chain:{each}" for each in _lineage(subject))]
    with target.admin() as admin:
        tokens = [
            each
            for each in itertools.islice(admin.tokens(**filters), _MAX_SHOWN)
            if with_ended or each["state"] in ("active", "suspended")
        ]
        standing = list(
            itertools.islice(admin.revocations(standing="true", handle=handles), _MAX_SHOWN)
        )
    if target.as_json:
        terminal.as_json({"subject": subject, "tokens": tokens, "standing": standing})
        return
    now_us = clock.wall_us()
    rows = [
        (
            str(each["token_id"]),
            str(each["kind"]),
            str(each["state"]),
            terminal.ago(each["issued_at"], now_us=now_us),
            terminal.ago(each["last_used_at"], now_us=now_us) or "never",
            terminal.ago(each["expires_at"], now_us=now_us),
            str(each["user_agent"] or ""),
            str(each["address"] or ""),
        )
        for each in tokens
    ]
    empty = f"There is no such token of {subject}."
    terminal.table(_COLUMNS, rows, empty=empty, cut=("device",))
    for each in standing:
        terminal.line("hit by", revocation_text.describe(each))


def _lineage(subject: str) -> list[str]:
    """Return a subject, and the subjects that it was delegated from."""
    parts = subject.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
