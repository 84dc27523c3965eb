"""The JSON documents that several parts of rescind write, with the same keys everywhere."""

from collections.abc import Iterable, Mapping

from rescind.core import times
from rescind.core.receipt import (
    EnforcingVerifier,
    Outcome,
    Receipt,
    Summary,
    VerifierInGrace,
    notable,
    summary_of,
)
from rescind.core.record import Record
from rescind.core.revocation import Event
from rescind.core.scopes import reported
from rescind.wire import events
from rescind.wire.receipt_details import DetailsPage


def moment(unix_us: int | None) -> str | None:
    """Return Unix microseconds as RFC 3339 in UTC; None for None."""
    return None if unix_us is None else times.rfc3339(unix_us)


def of_event(event: Event) -> dict[str, object]:
    """Return an event as in `GET /v1/events` and receipts."""
    revocation = event.revocation
    return {
        "epoch": event.epoch,
        "seq": event.seq,
        "at": moment(event.at_us),
        "id": revocation.revocation_id,
        "effect": revocation.effect,
        "selector": list(revocation.selector.handles),
        "scopes": list(revocation.scopes),
        "issued_before": moment(revocation.issued_before_us),
        "until": moment(revocation.until_us),
        "lifts": revocation.lifts,
        "reason": revocation.reason,
        "actor": revocation.actor,
    }


def of_receipt(receipt: Receipt, page: DetailsPage | None = None) -> dict[str, object]:
    """Return the content of a receipt, as in the API and `rescind receipt`.

    `verifiers` are those of the page. Without a page, they are all verifiers, or those that a
    summary names. `grace` are the verifiers that the receipt names, and on a later page the
    following ones. Raises MalformedMessageError for a receipt whose events cannot be decoded.
    """
    grace = receipt.grace if page is None or not page.first else page.grace
    return {
        "revocation_id": receipt.revocation_id,
        "epoch": receipt.epoch,
        "seq": receipt.seq,
        "events": [of_event(events.decode(payload)) for payload in receipt.payloads],
        "committed_at": moment(receipt.committed_at_us),
        "enforced_at": moment(receipt.enforced_at_us),
        "verifiers": of_verifiers(receipt.verifiers if page is None else page.verifiers),
        "grace": of_grace(grace),
        "unknown_grace_until": moment(receipt.unknown_grace_until_us),
        "hit": receipt.hit,
        "summary": _summary_document(summary_of(receipt), notable(receipt.verifiers)),
    }


def of_verifiers(verifiers: Iterable[EnforcingVerifier]) -> list[dict[str, object]]:
    """Return verifiers as in receipts."""
    return [
        {
            "instance": each.instance.hex(),
            "service": each.service,
            "outcome": each.outcome.value,
            "latency_ms": each.latency_us / 1000,
        }
        for each in verifiers
    ]


def of_grace(grace: Iterable[VerifierInGrace]) -> list[dict[str, object]]:
    """Return verifiers in grace as in receipts."""
    return [
        {
            "instance": each.instance.hex(),
            "service": each.service,
            "until": moment(each.until_us),
        }
        for each in grace
    ]


def verifier_in(document: Mapping[str, object]) -> EnforcingVerifier:
    """Return a verifier from `of_verifiers`. Raises KeyError, TypeError or ValueError."""
    latency_ms = document["latency_ms"]
    if not isinstance(latency_ms, int | float):
        raise TypeError("latency_ms")
    return EnforcingVerifier(
        instance=bytes.fromhex(str(document["instance"])),
        service=str(document["service"]),
        outcome=Outcome(str(document["outcome"])),
        latency_us=round(latency_ms * 1000),
    )


def grace_verifier_in(document: Mapping[str, object]) -> VerifierInGrace:
    """Return a verifier in grace from `of_grace`. Raises the errors of `verifier_in`."""
    return VerifierInGrace(
        instance=bytes.fromhex(str(document["instance"])),
        service=str(document["service"]),
        until_us=times.parse_rfc3339(str(document["until"])),
    )


def _summary_document(summary: Summary, named: Iterable[EnforcingVerifier]) -> dict[str, object]:
    return {
        "verifiers": summary.verifiers,
        "acknowledged": summary.acknowledged,
        "released": summary.released,
        "lapsed": summary.lapsed,
        "grace": summary.grace,
        "grace_until": moment(summary.grace_until_us or None),
        "services": [
            {
                "service": each.service,
                "acknowledged": each.acknowledged,
                "released": each.released,
                "lapsed": each.lapsed,
                "grace": each.grace,
                "slowest_ms": each.slowest_us / 1000,
            }
            for each in summary.services
        ],
        "services_left": summary.services_left,
        "notable": of_verifiers(named),
    }


def of_record(record: Record) -> dict[str, object]:
    """Return a record as in `POST /v1/check` and `rescind check --json`.

    `scopes` are the granted scopes that no narrow touches: a reader of this key alone allows no
    more than a check does. `scopes_removed` has the content of `X-Rescind-Scopes-Removed`;
    `scopes_removed_count` is the number of all removed patterns.
    """
    return {
        "token_id": record.token_id,
        "kind": record.kind,
        "subject": record.subject,
        "scopes": sorted(record.scopes),
        "scopes_granted": sorted(record.granted),
        "scopes_removed": list(reported(record.removed)),
        "scopes_removed_count": len(record.removed),
        "audience": sorted(record.audience),
        "tenant": record.tenant,
        "client": record.client,
        "session": record.session,
        "labels": dict(record.labels),
        "lineage": list(record.lineage),
        "chain": list(record.chain),
        "issued_at": moment(record.issued_at_us),
        "expires_at": moment(record.expires_at_us),
    }
