"""`rescind revocations`: what was revoked, and what stands."""

import itertools
from collections.abc import Mapping
from typing import Any

import click

from rescind_cli import holds, render
from rescind_cli.target import Target, with_target
from rescind_runtime import clock

_COLUMNS = ("id", "effect", "of", "since", "until", "by", "reason")


@click.group()
def revocations() -> None:
    """List what was revoked, or what stands and can be lifted; look at one."""


@revocations.command("ls")
@click.option("--standing", is_flag=True, help="Only what `rescind lift` could end.")
@click.option(
    "--handle",
    "handles",
    multiple=True,
    help="With --standing: what names it, such as subject:agent:x; several: any of them.",
)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@with_target
def ls(*, target: Target, standing: bool, handles: tuple[str, ...], limit: int) -> None:
    """List revocations, newest first."""
    if handles and not standing:
        raise click.UsageError("--handle goes with --standing")
    filters = {"standing": "true", "handle": handles} if standing else {}
    with target.admin() as admin:
        found = list(itertools.islice(admin.revocations(**filters), limit))
    if target.as_json:
        render.as_json({"revocations": found})
        return
    now_us = clock.wall_us()
    rows = [
        (
            str(each["id"]),
            holds.what(each),
            holds.whom(each),
            render.ago(each["committed_at"], now_us=now_us),
            "lifted" if each["lifted_at"] else render.ago(each["until"], now_us=now_us),
            str(each["actor"]),
            str(each["reason"]),
        )
        for each in found
    ]
    render.table(_COLUMNS, rows, empty="Nothing stands." if filters else "Nothing was revoked.")


@revocations.command("show")
@click.argument("revocation_id", metavar="ID")
@with_target
def show(*, target: Target, revocation_id: str) -> None:
    """Look at one revocation; `rescind receipt ID` shows who enforces it."""
    with target.admin() as admin:
        found = admin.revocation(revocation_id)
    if target.as_json:
        render.as_json(found)
        return
    now_us = clock.wall_us()

    def when(name: str) -> str:
        text = found[name]
        return f"{text}  ({render.ago(text, now_us=now_us)})" if text else ""

    swept, receipt = found["swept"], found["receipt"]
    render.facts(
        [
            ("id", str(found["id"])),
            ("effect", holds.what(found)),
            ("of", holds.whom(found)),
            ("issued before", when("issued_before")),
            ("lifts", str(found["lifts"] or "")),
            ("committed", when("committed_at")),
            ("at", f"seq {found['seq']} of epoch {found['epoch']}"),
            ("until", when("until")),
            ("lifted", when("lifted_at")),
            ("by", str(found["actor"])),
            ("reason", str(found["reason"])),
            ("tokens ended", _ended(swept) if swept else ""),
            ("enforced", str(receipt["enforced_at"]) if receipt else "nobody has waited for it"),
        ]
    )


def _ended(swept: Mapping[str, Any]) -> str:
    return f"{swept['tokens']:,}{'' if swept['done'] else ' so far'}"
