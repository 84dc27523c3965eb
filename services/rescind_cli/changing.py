"""`rescind tokens rotate` and `expire`: a token gets a new secret, or an earlier end."""

import itertools
import sys
from collections.abc import Iterable, Iterator

import click

from rescind.core.secret import Secret
from rescind_cli import minted, render, waiting
from rescind_cli.commanding import How, with_how
from rescind_cli.failures import Exit
from rescind_cli.parameters import DURATION, END, LABEL, token_from_stdin
from rescind_cli.target import Target, with_target

_STDIN = "-"
_AT_ONCE = 500


@click.command()
@click.argument("token_id", metavar="TOKEN_ID|-")
@click.option("--overlap", type=DURATION, default=0, help="How long the old secret stays good.")
@click.option(
    "--on-reuse",
    type=click.Choice(["revoke", "deny"]),
    default="revoke",
    show_default=True,
    help="What the old secret's use after that means: the end of the token, or a denial.",
)
@with_how
@with_target
def rotate(*, target: Target, token_id: str, overlap: int, on_reuse: str, how: How) -> None:
    """Give a token a new secret, and print it this once.

    Its name, its grant, its end and what was delegated from it stay. `-` takes the token itself
    from stdin: whoever holds it may rotate it. With --wait no verifier accepts the old secret any
    more (without --overlap). After a leak, revoke instead: a thief may have delegated.
    """
    from rescind.client.admin import Renewal  # noqa: PLC0415 - --help need not pay for httpx2

    renewal = Renewal(overlap=overlap, on_reuse=on_reuse)
    key = how.idempotency_key
    if token_id == _STDIN:
        if how.wait:
            raise click.UsageError("--wait needs an admin token: name the token's id")
        renewal["reason"] = how.reason
        with target.bearer(Secret(token_from_stdin())) as bearer:
            minted.show(bearer.rotate(idempotency_key=key, **renewal), as_json=target.as_json)
        return
    how.write_into(renewal)
    with target.admin() as admin:
        issued = admin.rotate(token_id, idempotency_key=key, **renewal)
        done = issued.facts
        if how.wait:
            done = waiting.until_enforced(admin, done, timeout_s=how.timeout_s)
    minted.show(issued, as_json=target.as_json)
    if how.wait:
        raise click.exceptions.Exit(waiting.exit_code(done))


@click.command()
@click.argument("token_ids", metavar="[TOKEN_ID]...", nargs=-1)
@click.option("--subject", help="All that speak for it.")
@click.option("--kind", help="All of a kind.")
@click.option("--tenant", help="All of a tenant.")
@click.option("--label", "labels", type=LABEL, multiple=True, help="All with a label.")
@click.option("--at", type=END, help="When: a time, or 2h from now. [default: now]")
@click.option("--reason", default="", help="Why; it stands in the ledger and in the audit.")
@click.option("--yes", is_flag=True, help="Do not ask before what hits many.")
@with_target
def expire(
    *,
    target: Target,
    token_ids: tuple[str, ...],
    subject: str | None,
    kind: str | None,
    tenant: str | None,
    labels: tuple[tuple[str, str], ...],
    at: str | None,
    reason: str,
    yes: bool,
) -> None:
    """End tokens early: those that are named, or all that match every filter.

    What was delegated from them goes on until its own end: revoke to end that too. Many take a
    while, unlike a revocation, which is one event; Ctrl-C leaves the rest as it is.
    """
    filters: dict[str, str | list[str]] = {
        name: text
        for name, text in (("subject", subject), ("kind", kind), ("tenant", tenant))
        if text
    }
    if labels:
        filters["label"] = [f"{key}={text}" for key, text in labels]
    if bool(token_ids) == bool(filters):
        raise click.UsageError("name tokens by their ids, or filter them; not both")
    done = refused = 0
    with target.admin() as admin:
        chosen = list(token_ids)
        if filters:
            chosen = [str(each["token_id"]) for each in admin.tokens(**filters, state="active")]
            _confirm(len(chosen), yes=yes)
        for batch in _batches(chosen):
            found = admin.expire_each(batch, at=at, reason=reason)
            done, refused = done + found["changed"], refused + found["refused"]
            _progress(done + refused, len(chosen))
            for each in found["outcomes"]:
                if each.get("problem") and not target.as_json:
                    render.line("refused", each["token_id"], each["problem"]["detail"])
    if target.as_json:
        render.as_json({"changed": done, "refused": refused})
    else:
        render.line("expired", f"{done:,} tokens" + (f", {refused:,} refused" if refused else ""))
    if refused:
        raise click.exceptions.Exit(Exit.REFUSED)


def _batches(token_ids: Iterable[str]) -> Iterator[list[str]]:
    left = iter(token_ids)
    while batch := list(itertools.islice(left, _AT_ONCE)):
        yield batch


def _confirm(count: int, *, yes: bool) -> None:
    if yes or not count or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    if not click.confirm(f"This ends {count:,} tokens. Go on?", err=True):
        click.echo("Nothing was changed.", err=True)
        raise click.exceptions.Exit(Exit.REFUSED)


def _progress(done: int, of: int) -> None:
    """Write one line that replaces itself, where somebody watches many."""
    if sys.stderr.isatty() and of > _AT_ONCE:
        sys.stderr.write(f"\r\x1b[K{done:,} of {of:,}" + ("\n" if done == of else ""))
        sys.stderr.flush()
