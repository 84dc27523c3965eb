"""A receipt in a JSON file, and its verification with the root's public key alone."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rescind.core.receipt import Receipt, Summary
from rescind.errors import MalformedMessageError, RescindError
from rescind.wire import json_documents, receipt_details, receipts
from rescind_runtime import clock

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import ReceiptContent
    from rescind.wire.signed_envelope import SignedEnvelope
    from rescind_runtime.crypto.trust import Trust


def verify(path: Path, trust_file: Path, *, ended_trust: bool = False) -> "ReceiptContent":
    """Return the receipt in a file if its signature leads to the root key. Raises RescindError.

    A file whose fields differ from the signed content is rejected, even if the signature is
    genuine. So is a file whose key was retired, or may have been retired since the newest statement
    at hand ended.
    """
    from rescind_runtime.crypto.trust import Trust  # noqa: PLC0415 - libsodium only where it is used

    trust = Trust.read(trust_file)
    document, statement, signed = _read(path)
    _accept_statement(trust, statement, signed)
    problem = trust.problem(clock.wall_us())
    if problem is not None and not ended_trust:
        raise RescindError(
            f"{path} cannot be verified: {problem}. It does not show keys that were retired later. "
            f"Copy the authority's trust file to {trust_file}, or add --ended-trust"
        )
    _require_genuine(signed, trust, path=path, trust_file=trust_file)
    content = _signed_content(signed.content, document, path)
    for name, signed_value in content.items():
        if name in document and document[name] != signed_value:
            raise RescindError(
                f"{path} is not genuine: its {name!r} was changed after it was signed"
            )
    return cast("ReceiptContent", content)  # `json_documents.of_receipt` writes it


def _read(path: Path) -> tuple[Mapping[str, Any], bytes, "SignedEnvelope"]:
    """Return the document of a file, its trust statement and its signed receipt."""
    from rescind.wire.signed_envelope import SignedEnvelope  # noqa: PLC0415 - as in verify

    try:
        answer = json.loads(path.read_text(encoding="utf-8"))
        document = answer.get("receipt") or answer
        signed = SignedEnvelope(
            base64.b64decode(document["content"]),
            bytes.fromhex(document["key_id"]),
            bytes.fromhex(document["signature"]),
        )
        return document, base64.b64decode(document["statement"]), signed
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RescindError(
            f"{path} is not a receipt: `rescind receipt ID --json` writes one"
        ) from error


def _accept_statement(trust: "Trust", statement: bytes, signed: "SignedEnvelope") -> None:
    """Adopt the statement of a receipt if it is newer. Raises KeyringError."""
    from rescind.wire.trust_statement import Purpose  # noqa: PLC0415 - as in verify
    from rescind_runtime.crypto.trust import KeyringError  # noqa: PLC0415 - the same

    try:
        trust.accept(statement)
    except KeyringError:
        # The statement is of an earlier root key; the receipt's key may be trusted without it.
        if not trust.knows(Purpose.RECEIPTS, signed):
            raise


def _require_genuine(
    signed: "SignedEnvelope", trust: "Trust", *, path: Path, trust_file: Path
) -> None:
    """Raise RescindError unless a key that is not retired signed the receipt."""
    from rescind.wire.trust_statement import Purpose, RetiredKey  # noqa: PLC0415 - as in verify

    if RetiredKey(Purpose.RECEIPTS, signed.key_id) in trust.retired:
        raise RescindError(
            f"{path} proves nothing: the key that signed it was retired, and may be stolen. The "
            "revocation is still in the ledger (`rescind events`); revoke again for a new receipt"
        )
    if not trust.verify(Purpose.RECEIPTS, signed):
        raise RescindError(
            f"{path} is not genuine: it is not signed by a key that {trust_file} trusts"
        )


def _signed_content(content: bytes, document: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the fields that the signature covers, directly or by the digest of the details."""
    receipt = receipts.decode(content)
    fields = dict(json_documents.of_receipt(receipt))
    if receipt.summary is not None:
        complete = _completed(receipt, receipt.summary, document, path)
        fields |= {
            "verifiers": json_documents.of_verifiers(complete.verifiers),
            "grace": json_documents.of_grace(complete.grace),
        }
    return fields


def _completed(
    signed: Receipt, summary: Summary, document: Mapping[str, Any], path: Path
) -> Receipt:
    """Return the complete receipt of a file, if its details match the signed summary.

    Raises RescindError if they do not.
    """
    try:
        verifiers = [json_documents.verifier_in(each) for each in document["verifiers"]]
        grace = [json_documents.grace_verifier_in(each) for each in document["grace"]]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise RescindError(f"{path} is not genuine: its verifiers are not valid") from error
    if len(verifiers) < summary.verifiers or len(grace) < summary.grace:
        raise RescindError(
            f"{path} contains {len(verifiers):,} of {summary.verifiers:,} verifiers, and "
            f"{len(grace):,} of {summary.grace:,} in grace: `rescind receipt ID --json` writes all"
        )
    try:
        return receipt_details.completed(signed, verifiers, grace)
    except MalformedMessageError as error:
        raise RescindError(
            f"{path} is not genuine: its verifiers were changed after they were signed"
        ) from error
