"""`rescind receipt`: the proof that a revocation is enforced, from the authority or from a file."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rescind_cli import settings
from rescind_cli.commands.revocations import receipt_file
from rescind_cli.options.authority_options import CommandTarget, with_target
from rescind_cli.options.param_types import DURATION, ID
from rescind_cli.output import hits, receipt_progress, terminal

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import ReceiptContent


@click.command()
@click.argument("revocation_id", type=ID, required=False)
@click.option(
    "--verify",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Verify the receipt in a JSON file, offline.",
)
@click.option(
    "--trust",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --verify: the trust file of the installation, which contains its root key.",
)
@click.option(
    "--ended-trust",
    is_flag=True,
    help="With --verify: accept a trust statement that has ended. Keys may be retired since then.",
)
@click.option("--timeout", type=DURATION, help="Give up after this time. [default: no limit]")
@with_target
def receipt(
    *,
    target: CommandTarget,
    revocation_id: str | None,
    verify: Path | None,
    trust: Path | None,
    ended_trust: bool,
    timeout: int | None,
) -> None:
    """Wait for the receipt of a revocation and show it, or verify a receipt.

    `rescind receipt ID --json > receipt.json` stores a receipt; `rescind receipt --verify
    receipt.json` verifies it with only the public root key. Exits 0 if enforced or genuine, 1 if
    not genuine, 3 with verifiers in grace, 6 if not enforced yet.
    """
    if (revocation_id is None) == (verify is None):
        raise click.UsageError("give either the id of a revocation, or --verify FILE")
    if verify is not None:
        trust_file = trust or settings.trust(data=target.data)
        _verify(verify, trust_file, ended_trust=ended_trust, as_json=target.as_json)
    else:
        _wait(target, str(revocation_id), timeout_s=timeout)


def _verify(path: Path, trust_file: Path, *, ended_trust: bool, as_json: bool) -> None:
    content = receipt_file.verify(path, trust_file, ended_trust=ended_trust)
    if as_json:
        terminal.as_json({"genuine": True, "receipt": content})
        return
    terminal.line("genuine", f"seq {content['seq']}", str(content["revocation_id"]))
    if content["hit"] is not None:
        terminal.line("hit", f"{content['hit']:,} tokens")
    _show(content)


def _wait(target: CommandTarget, revocation_id: str, *, timeout_s: int | None) -> None:
    with target.admin() as admin:
        wait = receipt_progress.ReceiptWait(admin, revocation_id, timeout_s=timeout_s)
        done = wait.run()  # None: Ctrl-C came before the first answer
        if done is not None and target.as_json and not wait.interrupted:
            done = receipt_progress.completed(admin, done)
    if target.as_json:
        terminal.as_json(done or {"id": revocation_id, "state": "committed"})
    elif done is not None:
        terminal.line(done["state"], f"seq {done['seq']}", done["id"])
        hits.show(done)
        if done["receipt"] is not None:
            _show(done["receipt"])
    wait.end(as_json=target.as_json)


def _show(receipt: "ReceiptContent") -> None:
    """Show what is enforced, and where."""
    for each in receipt["events"]:
        without = [f"without {scope}" for scope in each["scopes"]]
        why = [each["reason"]] if each["reason"] else []
        terminal.line(each["effect"], *each["selector"], *without, f"by {each['actor']}", *why)
    receipt_progress.show(receipt)
