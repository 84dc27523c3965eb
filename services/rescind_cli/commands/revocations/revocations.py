"""`rescind revocations`: the revocations, and those that can be lifted."""

from typing import TYPE_CHECKING

import click

from rescind_cli.help import suggestions
from rescind_cli.options.authority_options import CommandTarget, with_target
from rescind_cli.options.param_types import ID, limit_option, listed
from rescind_cli.output import hits, revocation_text, terminal
from rescind_runtime import clock

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import RevocationFilters, SweepProgress

_COLUMNS = ("id", "effect", "selector", "since", "until", "by", "reason")


@click.group(cls=suggestions.Group)
def revocations() -> None:
    """List revocations, or show one."""


@revocations.command("ls")
@click.option("--standing", is_flag=True, help="Only revocations that `rescind lift` can end.")
@click.option(
    "--handle",
    "handles",
    multiple=True,
    help="With --standing: only revocations with this handle, such as subject:agent:x. "
    "Repeatable: any of them matches.",
)
@limit_option
@with_target
def ls(*, target: CommandTarget, standing: bool, handles: tuple[str, ...], limit: int) -> None:
    """List revocations, newest first."""
    if handles and not standing:
        raise click.UsageError("--handle requires --standing")
    filters: RevocationFilters = {"standing": "true", "handle": handles} if standing else {}
    with target.admin() as admin:
        found, more = listed(admin.revocations(**filters), limit)
    if target.as_json:
        terminal.as_json({"revocations": found, "more": more})
        return
    now_us = clock.wall_us()
    rows = [
        (
            str(each["id"]),
            revocation_text.effect_text(each),
            revocation_text.selector_text(each),
            terminal.ago(each["committed_at"], now_us=now_us),
            "lifted" if each["lifted_at"] else terminal.ago(each["until"], now_us=now_us),
            str(each["actor"]),
            str(each["reason"]),
        )
        for each in found
    ]
    empty = "No revocation can be lifted." if filters else "There are no revocations."
    terminal.table(_COLUMNS, rows, empty=empty, cut=("selector", "reason"))
    if more:
        terminal.rest(len(rows), None)


@revocations.command("show")
@click.argument("revocation_id", type=ID, metavar="ID")
@with_target
def show(*, target: CommandTarget, revocation_id: str) -> None:
    """Show one revocation. `rescind receipt ID` shows the verifiers that enforce it."""
    with target.admin() as admin:
        found = admin.revocation(revocation_id)
    if target.as_json:
        terminal.as_json(found)
        return
    now_us = clock.wall_us()

    def when(text: str | None) -> str:
        return f"{text}  ({terminal.ago(text, now_us=now_us)})" if text else ""

    swept, receipt = found["swept"], found["receipt"]
    terminal.facts(
        [
            ("id", str(found["id"])),
            ("effect", revocation_text.effect_text(found)),
            ("selector", revocation_text.selector_text(found)),
            ("issued before", when(found["issued_before"])),
            ("lifts", str(found["lifts"] or "")),
            ("committed", when(found["committed_at"])),
            ("position", f"seq {found['seq']} of epoch {found['epoch']}"),
            ("until", when(found["until"])),
            ("lifted", when(found["lifted_at"])),
            ("by", str(found["actor"])),
            ("reason", str(found["reason"])),
            ("hit", hits.describe(found) or ""),
            ("tokens ended", _describe_sweep(swept) if swept else ""),
            (
                "enforced",
                str(receipt["enforced_at"])
                if receipt
                else "not known: no client has waited for the receipt",
            ),
        ]
    )


def _describe_sweep(swept: "SweepProgress") -> str:
    return f"{swept['tokens']:,}{'' if swept['done'] else ' so far'}"
