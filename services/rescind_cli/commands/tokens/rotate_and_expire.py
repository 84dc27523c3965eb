"""`rescind tokens rotate` and `expire`: a token gets a new secret, or an earlier end."""

import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

import click

from rescind.core.secret import Secret
from rescind_cli.commands.revocations.revocation_command import CommandOptions, with_options
from rescind_cli.options.authority_options import CommandTarget, with_target
from rescind_cli.options.param_types import END, ID, LABEL, OVERLAP, token_from_stdin
from rescind_cli.output import hits, new_token, receipt_progress, terminal
from rescind_cli.output.exit_codes import Exit

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import Admin, RotationOptions, TokenFilters

_STDIN = "-"
_AT_ONCE = 500


@click.command()
@click.argument("token_id", type=ID, metavar="TOKEN_ID|-")
@click.option("--overlap", type=OVERLAP, default=0, help="How long the old secret stays valid.")
@click.option(
    "--on-reuse",
    type=click.Choice(["revoke", "deny"]),
    help="If the old secret is used 30 s or more after its end: revoke the token, or only deny. "
    "[default: as it was issued]",
)
@with_options
@with_target
def rotate(
    *,
    target: CommandTarget,
    token_id: str,
    overlap: int,
    on_reuse: str | None,
    options: CommandOptions,
) -> None:
    """Create a new secret for a token, and print it once.

    The token keeps its id, its grant, its expiry and the tokens delegated from it. `-` reads the
    token itself from stdin, for a rotation by its holder. With --wait and without --overlap, no
    verifier accepts the old secret once the command has returned. After a leak, revoke the token
    instead: a thief may have delegated from it.
    """
    rotation: RotationOptions = {"overlap": overlap}
    if on_reuse is not None:
        rotation["on_reuse"] = on_reuse
    key = options.idempotency_key
    if token_id == _STDIN:
        if options.wait:
            raise click.UsageError(
                "--wait requires an admin token: give the token id instead of `-`"
            )
        rotation["reason"] = options.reason
        with target.bearer(Secret(token_from_stdin())) as bearer:
            new_token.show(bearer.rotate(idempotency_key=key, **rotation), as_json=target.as_json)
        return
    options.apply_to(rotation)
    with target.admin() as admin:
        with receipt_progress.reported_interruption(key):
            issued = admin.rotate(token_id, idempotency_key=key, **rotation)
        # Before the wait: Ctrl-C during it must not lose the only copy of the secret.
        new_token.show(issued, as_json=target.as_json)
        if options.wait:
            wait = receipt_progress.ReceiptWait(
                admin, issued.facts["id"], issued.facts, timeout_s=options.timeout_s
            )
            wait.run()
            wait.end(as_json=target.as_json)


@click.command()
@click.argument("token_ids", type=ID, metavar="[TOKEN_ID]...", nargs=-1)
@click.option("--subject", help="All tokens of this subject.")
@click.option("--kind", help="All tokens of this kind.")
@click.option("--tenant", help="All tokens of this tenant.")
@click.option(
    "--label", "labels", type=LABEL, multiple=True, help="All tokens with this label. Repeatable."
)
@click.option("--at", type=END, help="When they expire: a time, or 2h from now. [default: now]")
@click.option("--reason", default="", help="Reason, stored in the ledger and the audit.")
@click.option(
    "--yes",
    is_flag=True,
    help="Skip the confirmation. Without a terminal, filters other than --subject require it.",
)
@with_target
def expire(
    *,
    target: CommandTarget,
    token_ids: tuple[str, ...],
    subject: str | None,
    kind: str | None,
    tenant: str | None,
    labels: tuple[tuple[str, str], ...],
    at: str | None,
    reason: str,
    yes: bool,
) -> None:
    """Expire tokens early: the given ids, or all tokens that match every filter.

    Tokens delegated from them expire too. A revocation is one event; this command changes each
    token by itself, and takes longer for many tokens. Ctrl-C leaves the rest unchanged.
    """
    options = {"subject": subject, "kind": kind, "tenant": tenant}
    label_texts = [f"{key}={text}" for key, text in labels]
    given = {name: text for name, text in {**options, "label": label_texts}.items() if text}
    filters = cast("TokenFilters", given)  # the options have the names of the filters
    if bool(token_ids) == bool(filters):
        raise click.UsageError("give either token ids or filters")
    with target.admin() as admin:
        chosen = list(token_ids)
        if filters:
            live: TokenFilters = {**filters, "state": "active"}
            chosen = [each["token_id"] for each in admin.tokens(**live)]
            _confirm(len(chosen), yes=yes or subject is not None)
        done, refused = _expire_all(admin, chosen, at=at, reason=reason, as_json=target.as_json)
    if target.as_json:
        terminal.as_json({"changed": done, "refused": refused})
    else:
        terminal.line("expired", f"{done:,} tokens" + (f", {refused:,} refused" if refused else ""))
    if not done and not refused:
        hits.warn("no live token matches these filters", as_json=target.as_json)
    if refused:
        raise click.exceptions.Exit(Exit.REFUSED)


def _expire_all(
    admin: "Admin", token_ids: Sequence[str], *, at: str | None, reason: str, as_json: bool
) -> tuple[int, int]:
    """Expire tokens in batches, and return how many were changed and how many were refused.

    Each refusal is printed, except with --json.
    """
    done = refused = 0
    for batch in _split(token_ids):
        result = admin.expire_each(batch, at=at, reason=reason)
        done, refused = done + result["changed"], refused + result["refused"]
        _show_progress(done + refused, len(token_ids))
        for each in result["outcomes"]:
            if (problem := each["problem"]) is not None and not as_json:
                terminal.line("refused", each["token_id"], problem["detail"])
    return done, refused


def _split(token_ids: Iterable[str]) -> Iterator[list[str]]:
    left = iter(token_ids)
    while batch := list(itertools.islice(left, _AT_ONCE)):
        yield batch


def _confirm(count: int, *, yes: bool) -> None:
    if yes or not count:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(
            f"this expires {count:,} tokens of many holders, and there is no terminal for a "
            "confirmation: add --yes"
        )
    if not click.confirm(f"This expires {count:,} tokens. Continue?", err=True):
        click.echo("Nothing was changed.", err=True)
        raise click.exceptions.Exit(Exit.REFUSED)


def _show_progress(done: int, of: int) -> None:
    """Write a progress line that replaces itself, on a terminal and for many tokens."""
    if sys.stderr.isatty() and of > _AT_ONCE:
        sys.stderr.write(f"\r\x1b[K{done:,} of {of:,}" + ("\n" if done == of else ""))
        sys.stderr.flush()
