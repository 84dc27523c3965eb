"""`rescind receipt`: the proof that a revocation is enforced, from the authority or from a file."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from rescind.core.receipt import Receipt, Summary
from rescind.errors import MalformedMessageError, RescindError
from rescind.wire import json_documents, receipt_details, receipts
from rescind_cli import settings
from rescind_cli.options.authority_options import CommandTarget, with_target
from rescind_cli.options.param_types import DURATION, ID
from rescind_cli.output import hits, receipt_progress, terminal
from rescind_runtime import clock

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import ReceiptContent


@click.command()
@click.argument("revocation_id", type=ID, required=False)
@click.option(
    "--verify",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Check a receipt in a JSON file, offline.",
)
@click.option(
    "--trust",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --verify: the installation's trust file, which names its root key.",
)
@click.option(
    "--ended-trust",
    is_flag=True,
    help="With --verify: go by a trust statement that has ended; keys may be retired since.",
)
@click.option("--timeout", type=DURATION, help="Wait for so long. [default: until it is there]")
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
    """Show the receipt of a revocation once it is enforced, or check one.

    `rescind receipt ID --json > receipt.json` stores one; `rescind receipt --verify receipt.json`
    checks it with the root's public key alone. Exits 0 if enforced or genuine, 1 if not genuine, 3
    with verifiers in grace, 6 if not enforced yet.
    """
    if (revocation_id is None) == (verify is None):
        raise click.UsageError("name a revocation, or a file with --verify")
    if verify is not None:
        found = _verified(
            verify, trust or settings.trust(data=target.data), ended_trust=ended_trust
        )
        if target.as_json:
            terminal.as_json({"genuine": True, "receipt": found})
        else:
            terminal.line("genuine", f"seq {found['seq']}", str(found["revocation_id"]))
            if found["hit"] is not None:
                terminal.line("hit", f"{found['hit']:,} tokens")
            _show(found)
        return
    with target.admin() as admin:
        wait = receipt_progress.ReceiptWait(admin, str(revocation_id), timeout_s=timeout)
        done = wait.run()  # None: Ctrl-C came before the first answer
        if done is not None and target.as_json and not wait.interrupted:
            done = receipt_progress.completed(admin, done)
    if target.as_json:
        terminal.as_json(done or {"id": str(revocation_id), "state": "committed"})
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


def _verified(path: Path, trust_file: Path, *, ended_trust: bool = False) -> "ReceiptContent":
    """Return the receipt in a file if its signature leads to the root key. Raises RescindError.

    A file whose fields differ from the signed content is rejected, even if the signature is
    genuine. So is a file whose key was retired, or may have been retired since the newest statement
    at hand ended.
    """
    from rescind.wire.signed_envelope import SignedEnvelope  # noqa: PLC0415 - libsodium only where it is used
    from rescind.wire.trust_statement import Purpose, RetiredKey  # noqa: PLC0415 - the same
    from rescind_runtime.crypto.trust import KeyringError, Trust  # noqa: PLC0415 - the same

    trust = Trust.read(trust_file)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        said = document.get("receipt") or document
        statement = base64.b64decode(said["statement"])
        content = base64.b64decode(said["content"])
        signed = SignedEnvelope(
            content, bytes.fromhex(said["key_id"]), bytes.fromhex(said["signature"])
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RescindError(
            f"{path} is no receipt: `rescind receipt ID --json` writes one"
        ) from error
    try:
        trust.accept(statement)
    except KeyringError:
        # The statement is of an earlier root key; the receipt's key may be trusted without it.
        if not trust.knows(Purpose.RECEIPTS, signed):
            raise
    problem = trust.problem(clock.wall_us())
    if problem is not None and not ended_trust:
        raise RescindError(
            f"{path} cannot be judged: {problem}. Keys that were retired since do not show in it. "
            f"Copy the authority's trust file to {trust_file}, or add --ended-trust"
        )
    if RetiredKey(Purpose.RECEIPTS, signed.key_id) in trust.retired:
        raise RescindError(
            f"{path} proves nothing: the key that signed it was retired, and may be a thief's. The "
            "revocation stands in the ledger (`rescind events`); revoke again for a new receipt"
        )
    if not trust.verify(Purpose.RECEIPTS, signed):
        raise RescindError(
            f"{path} is not genuine: no key that {trust_file} leads to signed these bytes"
        )
    receipt = receipts.decode(content)
    found = json_documents.of_receipt(receipt)
    if receipt.summary is not None:
        complete = _completed(receipt, receipt.summary, said, path)
        found |= {
            "verifiers": json_documents.of_verifiers(complete.verifiers),
            "grace": json_documents.of_grace(complete.grace),
        }
    for name, signed_value in found.items():
        if name in said and said[name] != signed_value:
            raise RescindError(
                f"{path} is not genuine: its {name!r} was changed after it was signed"
            )
    return cast("ReceiptContent", found)  # `json_documents.of_receipt` writes it


def _completed(signed: Receipt, summary: Summary, said: Mapping[str, Any], path: Path) -> Receipt:
    """Return the complete receipt of a file, if its details match the signed summary.

    Raises RescindError if they do not.
    """
    try:
        verifiers = [json_documents.verifier_in(each) for each in said["verifiers"]]
        grace = [json_documents.grace_verifier_in(each) for each in said["grace"]]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise RescindError(f"{path} is not genuine: its verifiers are none") from error
    if len(verifiers) < summary.verifiers or len(grace) < summary.grace:
        raise RescindError(
            f"{path} holds {len(verifiers):,} of {summary.verifiers:,} verifiers, and "
            f"{len(grace):,} of {summary.grace:,} in grace: `rescind receipt ID --json` writes all"
        )
    try:
        return receipt_details.completed(signed, verifiers, grace)
    except MalformedMessageError as error:
        raise RescindError(
            f"{path} is not genuine: its verifiers were changed after they were signed"
        ) from error
