"""`rescind receipt`: the proof that a revocation is enforced, from the authority or from a file."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rescind.core.receipt import Receipt, Summary
from rescind.errors import MalformedMessageError, RescindError
from rescind.wire import documents, receipt_details, receipts
from rescind_cli import render, settings, waiting
from rescind_cli.parameters import DURATION
from rescind_cli.target import Target, with_target

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin.calls import Document


@click.command()
@click.argument("revocation_id", required=False)
@click.option(
    "--verify",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Check a receipt in a JSON file, offline; nobody is asked.",
)
@click.option(
    "--trust",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --verify: the installation's trust file, which names its root key.",
)
@click.option("--timeout", type=DURATION, help="Wait for so long. [default: until it is there]")
@with_target
def receipt(
    *,
    target: Target,
    revocation_id: str | None,
    verify: Path | None,
    trust: Path | None,
    timeout: int | None,
) -> None:
    """Show the receipt of a revocation once it is enforced, or check one.

    `rescind receipt ID --json > receipt.json` keeps one; `rescind receipt --verify receipt.json`
    checks it with the root's public key alone. Exits 0 enforced or genuine, 1 not genuine, 3 with
    verifiers in grace, 6 not enforced yet.
    """
    if (revocation_id is None) == (verify is None):
        raise click.UsageError("name a revocation, or a file with --verify")
    if verify is not None:
        found = _verified(verify, trust or settings.trust(data=target.data))
        if target.as_json:
            render.as_json({"genuine": True, "receipt": found})
        else:
            render.line("genuine", f"seq {found['seq']}", str(found["revocation_id"]))
            _show(found)
        return
    with target.admin() as admin:
        done: Document = admin.receipt(str(revocation_id), timeout_s=1)
        done = waiting.until_enforced(admin, done, timeout_s=timeout)
        if target.as_json:
            done = waiting.completed(admin, done)
    if target.as_json:
        render.as_json(done)
    else:
        render.line(str(done["state"]), f"seq {done['seq']}", str(done["id"]))
        if done.get("receipt"):
            _show(done["receipt"])
    raise click.exceptions.Exit(waiting.exit_code(done))


def _show(receipt: Mapping[str, Any]) -> None:
    """Show what is enforced, and where."""
    for each in receipt["events"]:
        without = [f"without {scope}" for scope in each["scopes"]]
        why = [each["reason"]] if each["reason"] else []
        render.line(each["effect"], *each["selector"], *without, f"by {each['actor']}", *why)
    waiting.show(receipt)


def _verified(path: Path, trust_file: Path) -> dict[str, Any]:
    """Give the receipt in a file if its signature leads to the root key. Raises RescindError.

    A file that says otherwise than what was signed is refused, however genuine the signature.
    """
    from rescind.wire.sealed import Sealed  # noqa: PLC0415 - libsodium only where it is used
    from rescind.wire.trust import Purpose  # noqa: PLC0415 - the same
    from rescind_runtime.signing import Trust  # noqa: PLC0415 - the same

    trust = Trust.read(trust_file)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        said = document.get("receipt") or document
        trust.accept(base64.b64decode(said["statement"]))
        content = base64.b64decode(said["content"])
        signed = Sealed(content, bytes.fromhex(said["key_id"]), bytes.fromhex(said["signature"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RescindError(
            f"{path} is no receipt: `rescind receipt ID --json` writes one"
        ) from error
    if not trust.verify(Purpose.RECEIPTS, signed):
        raise RescindError(
            f"{path} is not genuine: no key that {trust_file} leads to signed these bytes"
        )
    receipt = receipts.decode(content)
    found = documents.of_receipt(receipt)
    if receipt.summary is not None:
        complete = _completed(receipt, receipt.summary, said, path)
        found |= {
            "verifiers": documents.of_verifiers(complete.verifiers),
            "grace": documents.of_grace(complete.grace),
        }
    for name, signed_value in found.items():
        if name in said and said[name] != signed_value:
            raise RescindError(
                f"{path} is not genuine: somebody changed its {name!r} after it was signed"
            )
    return found


def _completed(signed: Receipt, summary: Summary, said: Mapping[str, Any], path: Path) -> Receipt:
    """Return the complete receipt that a file tells, if its details are those that were signed."""
    try:
        verifiers = [documents.verifier_in(each) for each in said["verifiers"]]
        grace = [documents.lenient_in(each) for each in said["grace"]]
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
