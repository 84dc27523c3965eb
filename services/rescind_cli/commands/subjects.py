"""`rescind subjects`: all that speaks for somebody, and what holds it."""

import itertools

import click

from rescind_cli import holds, render
from rescind_cli.target import Target, with_target
from rescind_runtime import clock

_COLUMNS = ("id", "kind", "state", "issued", "last used", "ends", "device", "from")
_MOST = 1_000


@click.group()
def subjects() -> None:
    """Show all that speaks for a subject, and what holds it."""


@subjects.command("show")
@click.argument("subject")
@click.option("--kind", help="Only tokens of a kind, such as session.")
@click.option("--all", "dead", is_flag=True, help="Those that are over as well.")
@with_target
def show(*, target: Target, subject: str, kind: str | None, dead: bool) -> None:
    """Show the tokens of a subject, with where each began and was last used.

    What stands against it comes last: `rescind lift` ends that. `rescind revoke subject:SUBJECT
    kind:session` logs it out everywhere.
    """
    filters = {"subject": subject} | ({"kind": kind} if kind else {})
    handles = [f"subject:{subject}", *(f"chain:{each}" for each in _lineage(subject))]
    with target.admin() as admin:
        found = [
            each
            for each in itertools.islice(admin.tokens(**filters), _MOST)
            if dead or each["state"] in ("active", "suspended")
        ]
        standing = list(itertools.islice(admin.revocations(standing="true", handle=handles), _MOST))
    if target.as_json:
        render.as_json({"subject": subject, "tokens": found, "standing": standing})
        return
    now_us = clock.wall_us()
    rows = [
        (
            str(each["token_id"]),
            str(each["kind"]),
            str(each["state"]),
            render.ago(each["issued_at"], now_us=now_us),
            render.ago(each["last_used_at"], now_us=now_us) or "never",
            render.ago(each["expires_at"], now_us=now_us),
            str(each["user_agent"] or ""),
            str(each["address"] or ""),
        )
        for each in found
    ]
    render.table(_COLUMNS, rows, empty=f"Nothing speaks for {subject}.")
    for each in standing:
        render.line("held by", holds.said(each))


def _lineage(subject: str) -> list[str]:
    """Give a subject, and those whose name it has because it was delegated from them."""
    parts = subject.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
