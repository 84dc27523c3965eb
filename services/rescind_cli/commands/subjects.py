"""`rescind subjects`: all that speaks for somebody, and what holds it."""

import itertools

import click

from rescind_cli import render
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

    `rescind revoke subject:SUBJECT kind:session` logs it out everywhere.
    """
    filters = {"subject": subject} | ({"kind": kind} if kind else {})
    with target.admin() as admin:
        found = [
            each
            for each in itertools.islice(admin.tokens(**filters), _MOST)
            if dead or each["state"] in ("active", "suspended")
        ]
    if target.as_json:
        render.as_json({"subject": subject, "tokens": found})
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
